// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * mount.bpf.c - mounts are made, changed, moved and removed, and roots are changed
 *
 * Hooks:   lsm/sb_mount(device, path, type, flags, data)  mount(2), whatever it is to do
 *          lsm/move_mount(from, to)                       move_mount(2), by which new mounts come too
 *          lsm/sb_umount(mnt, flags)
 *          lsm/sb_remount(sb, options)                    fsconfig(2) of what fspick(2) took
 *          lsm/sb_pivotroot(old, new), lsm/path_chroot(path)
 * Since:   Linux 5.7; path_chroot needs CONFIG_SECURITY_PATH
 * Returns: what the rules say; 0 where nobody is asked
 *
 * mount(2) is five calls in one; which, follows from the flags as the kernel reads them. Where it moves
 * a mount, the place before is but a text of the caller's, so it is not said. mount_setattr(2) comes by
 * no hook.
 */
#include "plane.bpf.h"
#include "call.h"

/* uapi/linux/mount.h */
#define MS_REMOUNT 32
#define MS_BIND 4096
#define MS_MOVE 8192
#define MS_PROPAGATION (1 << 17 | 1 << 18 | 1 << 19 | 1 << 20)

enum mounting {
	MOUNTS,	  /* something new, a bind mount, or other flags of a mount */
	MOVES,
	REMOUNTS, /* other options of a file system */
};

/* fs/namespace.c: path_mount() */
static __always_inline enum mounting mounting(unsigned long flags)
{
	if (flags & MS_REMOUNT)
		return flags & MS_BIND ? MOUNTS : REMOUNTS;
	if (flags & MS_MOVE && !(flags & (MS_BIND | MS_PROPAGATION)))
		return MOVES;
	return MOUNTS;
}

SEC("lsm/sb_mount")
int BPF_PROG(mount_mount, const char *device, struct path *path, const char *type,
	     unsigned long flags, void *data, int ret)
{
	struct facts *f;

	if (mounting(flags) != MOUNTS)
		return ret;
	f = facts_begin(MOUNT_MOUNT, ret);
	if (!f)
		return ret;
	facts_number(f, PLACE_VALUE0, flags);
	facts_text(f, type);
	facts_path(f, path->mnt, path->dentry);
	return facts_end_of(f, path->dentry->d_inode);
}

SEC("lsm/sb_mount")
int BPF_PROG(mount_move_old, const char *device, struct path *path, const char *type,
	     unsigned long flags, void *data, int ret)
{
	struct facts *f;

	if (mounting(flags) != MOVES)
		return ret;
	f = facts_begin(MOUNT_MOVE, ret);
	if (!f)
		return ret;
	facts_path(f, path->mnt, path->dentry);
	return facts_end_of(f, path->dentry->d_inode);
}

SEC("lsm/move_mount")
int BPF_PROG(mount_move, struct path *from, struct path *to, int ret)
{
	struct facts *f = facts_begin(MOUNT_MOVE, ret);
	struct mount *moved;

	if (!f)
		return ret;
	facts_path(f, to->mnt, to->dentry);
	moved = mount_of((__u64)from->mnt);
	/* One that fsmount(2) or open_tree(2) made was nowhere before. */
	if (BPF_CORE_READ(moved, mnt_parent) == moved)
		facts_has(f, PLACE_NEW_PATH);
	else
		facts_new_path(f, from->mnt, from->dentry);
	return facts_end_of(f, to->dentry->d_inode);
}

SEC("lsm/sb_umount")
int BPF_PROG(mount_umount, struct vfsmount *mnt, int flags, int ret)
{
	struct facts *f = facts_begin(MOUNT_UMOUNT, ret);

	if (!f)
		return ret;
	facts_number(f, PLACE_VALUE0, (__u32)flags);
	facts_path(f, mnt, mnt->mnt_root);
	return facts_end_of(f, mnt->mnt_root->d_inode);
}

SEC("lsm/sb_mount")
int BPF_PROG(mount_remount, const char *device, struct path *path, const char *type,
	     unsigned long flags, void *data, int ret)
{
	struct facts *f;

	if (mounting(flags) != REMOUNTS)
		return ret;
	f = facts_begin(MOUNT_REMOUNT, ret);
	if (!f)
		return ret;
	facts_path(f, path->mnt, path->dentry);
	return facts_end_of(f, path->dentry->d_inode);
}

/* The file system is said here, and not where it is mounted. */
SEC("lsm/sb_remount")
int BPF_PROG(mount_remount_new, struct super_block *sb, void *options, int ret)
{
	struct facts *f;

	/* It was seen above, with its path. */
	if (current_call().number == CALL_MOUNT)
		return ret;
	f = facts_begin(MOUNT_REMOUNT, ret);
	if (!f)
		return ret;
	facts_nowhere(f);
	return facts_end(f);
}

SEC("lsm/sb_pivotroot")
int BPF_PROG(mount_pivot, struct path *old, struct path *new, int ret)
{
	struct facts *f = facts_begin(MOUNT_PIVOT, ret);

	if (!f)
		return ret;
	facts_path(f, new->mnt, new->dentry);
	facts_new_path(f, old->mnt, old->dentry);
	return facts_end_of(f, new->dentry->d_inode);
}

SEC("lsm/path_chroot")
int BPF_PROG(mount_chroot, struct path *path, int ret)
{
	struct facts *f = facts_begin(MOUNT_CHROOT, ret);

	if (!f)
		return ret;
	facts_path(f, path->mnt, path->dentry);
	return facts_end_of(f, path->dentry->d_inode);
}
