// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * file.bpf.c - files and folders: opened, run, made, named otherwise, removed, changed
 *
 * Hooks:   lsm/file_open, file_receive, mmap_file; path_mknod, path_mkdir, path_symlink, path_link,
 *          path_rename, path_unlink, path_rmdir, path_chmod, path_chown; inode_setattr
 * Since:   Linux 5.7; inode_setattr has one argument more since 6.9
 * Returns: what the rules say; a file system's own checks may refuse afterwards all the same
 *
 * The path hooks are called for what a system call or io_uring does by name, before the file system looks
 * at it. They are not for what the kernel does by itself (an overlay to its layers, the NFS server).
 */
#include "plane.bpf.h"

/* Told apart as fanotify does: what the kernel opens to run it is process.exec too. */
SEC("lsm/file_open")
int BPF_PROG(file_open, struct file *file, int ret)
{
	struct facts *f = facts_begin_file(FILE_OPEN, file, ret);

	if (!f)
		return ret;
	facts_number(f, PLACE_VALUE0, (file->f_mode & FMODE_WRITE) != 0);
	facts_number(f, PLACE_VALUE1, (file->f_flags & FMODE_EXEC_FLAG) != 0);
	return facts_end_of(f, file->f_inode);
}

SEC("lsm/file_open")
int BPF_PROG(process_exec, struct file *file, int ret)
{
	struct facts *f;

	if (!(file->f_flags & FMODE_EXEC_FLAG))
		return ret;
	f = facts_begin_file(PROCESS_EXEC, file, ret);
	if (!f)
		return ret;
	facts_number(f, PLACE_VALUE0, facts_in_memory(f));
	return facts_end_of(f, file->f_inode);
}

SEC("lsm/path_mknod")
int BPF_PROG(file_create, const struct path *dir, struct dentry *dentry, unsigned short mode,
	     unsigned int dev, int ret)
{
	struct facts *f;

	if (mode & S_IFMT && (mode & S_IFMT) != S_IFREG)
		return ret;
	f = facts_begin(FILE_CREATE, ret);
	if (!f)
		return ret;
	facts_number(f, PLACE_VALUE0, mode & 07777);
	facts_path(f, dir->mnt, dentry);
	return facts_end(f);
}

SEC("lsm/path_mknod")
int BPF_PROG(file_mknod, const struct path *dir, struct dentry *dentry, unsigned short mode,
	     unsigned int dev, int ret)
{
	struct facts *f;

	if (!(mode & S_IFMT) || (mode & S_IFMT) == S_IFREG)
		return ret;
	f = facts_begin(FILE_MKNOD, ret);
	if (!f)
		return ret;
	facts_number(f, PLACE_VALUE0, mode);
	/* As mknod(2) was given it: low eight bits of the minor, major, the rest of the minor. */
	facts_number(f, PLACE_VALUE1,
		     (dev & 0xfff00) << 12 | (dev & 0xff) | (dev >> 12 & 0xfff00));
	facts_path(f, dir->mnt, dentry);
	return facts_end(f);
}

SEC("lsm/path_mkdir")
int BPF_PROG(file_mkdir, const struct path *dir, struct dentry *dentry, unsigned short mode, int ret)
{
	struct facts *f = facts_begin(FILE_MKDIR, ret);

	if (!f)
		return ret;
	facts_number(f, PLACE_VALUE0, mode & 07777);
	facts_path(f, dir->mnt, dentry);
	return facts_end(f);
}

SEC("lsm/path_symlink")
int BPF_PROG(file_symlink, const struct path *dir, struct dentry *dentry, const char *old_name,
	     int ret)
{
	struct facts *f = facts_begin(FILE_SYMLINK, ret);

	if (!f)
		return ret;
	facts_text(f, old_name);
	facts_path(f, dir->mnt, dentry);
	return facts_end(f);
}

SEC("lsm/path_link")
int BPF_PROG(file_link, struct dentry *old_dentry, const struct path *new_dir,
	     struct dentry *new_dentry, int ret)
{
	struct facts *f = facts_begin(FILE_LINK, ret);

	if (!f)
		return ret;
	/* linkat(2) has seen to it that both are in the same mount. */
	facts_path(f, new_dir->mnt, old_dentry);
	facts_new_path(f, new_dir->mnt, new_dentry);
	return facts_end_of(f, old_dentry->d_inode);
}

static __always_inline int rename_one(const struct vfsmount *mnt, struct dentry *from,
				      struct dentry *to, int ret)
{
	struct facts *f = facts_begin(FILE_RENAME, ret);

	if (!f)
		return ret;
	facts_number(f, PLACE_VALUE0, BPF_CORE_READ(to, d_inode) != 0);
	facts_path(f, mnt, from);
	facts_new_path(f, mnt, to);
	return facts_end_of(f, from->d_inode);
}

SEC("lsm/path_rename")
int BPF_PROG(file_rename, const struct path *old_dir, struct dentry *old_dentry,
	     const struct path *new_dir, struct dentry *new_dentry, unsigned int flags, int ret)
{
	ret = rename_one(old_dir->mnt, old_dentry, new_dentry, ret);
	/* Two files that change places are two renames. */
	if (flags & RENAME_EXCHANGE)
		ret = rename_one(old_dir->mnt, new_dentry, old_dentry, ret);
	return ret ? -EPERM : 0;
}

SEC("lsm/path_unlink")
int BPF_PROG(file_unlink, const struct path *dir, struct dentry *dentry, int ret)
{
	struct facts *f = facts_begin(FILE_UNLINK, ret);

	if (!f)
		return ret;
	facts_path(f, dir->mnt, dentry);
	return facts_end_of(f, dentry->d_inode);
}

SEC("lsm/path_rmdir")
int BPF_PROG(file_rmdir, const struct path *dir, struct dentry *dentry, int ret)
{
	struct facts *f = facts_begin(FILE_RMDIR, ret);

	if (!f)
		return ret;
	facts_path(f, dir->mnt, dentry);
	return facts_end_of(f, dentry->d_inode);
}

SEC("lsm/path_chmod")
int BPF_PROG(file_setattr, const struct path *path, unsigned short mode, int ret)
{
	struct facts *f = facts_begin(FILE_SETATTR, ret);

	if (!f)
		return ret;
	facts_number(f, PLACE_VALUE0, mode & 07777);
	facts_path(f, path->mnt, path->dentry);
	return facts_end_of(f, path->dentry->d_inode);
}

SEC("lsm/path_chown")
int BPF_PROG(file_chown, const struct path *path, unsigned int uid, unsigned int gid, int ret)
{
	struct facts *f = facts_begin(FILE_CHOWN, ret);

	if (!f)
		return ret;
	facts_number(f, PLACE_VALUE0, uid);
	facts_number(f, PLACE_VALUE1, gid);
	facts_path(f, path->mnt, path->dentry);
	return facts_end_of(f, path->dentry->d_inode);
}

static __always_inline int truncate(struct dentry *dentry, struct iattr *attr, int ret)
{
	unsigned int valid = BPF_CORE_READ(attr, ia_valid);
	struct vfsmount *mnt = 0;
	struct facts *f;

	if (!(valid & ATTR_SIZE) || valid & ATTR_OPEN)
		return ret;
	f = facts_begin(FILE_TRUNCATE, ret);
	if (!f)
		return ret;
	if (valid & ATTR_FILE)
		mnt = BPF_CORE_READ(attr, ia_file, f_path.mnt);
	facts_path(f, mnt, dentry);
	return facts_end_of(f, dentry->d_inode);
}

SEC("lsm/inode_setattr")
int BPF_PROG(file_truncate, struct dentry *dentry, struct iattr *attr, int ret)
{
	return truncate(dentry, attr, ret);
}

/* Since Linux 6.9 (by trial: what has three arguments). */
SEC("lsm/inode_setattr")
int BPF_PROG(file_truncate_idmap, void *idmap, struct dentry *dentry, struct iattr *attr, int ret)
{
	return truncate(dentry, attr, ret);
}

SEC("lsm/mmap_file")
int BPF_PROG(file_mmap_exec, struct file *file, unsigned long reqprot, unsigned long prot,
	     unsigned long flags, int ret)
{
	struct facts *f;

	/* By number for a verifier that takes it for never NULL, by itself for one that wants it looked at. */
	if (!argument(ctx, 0) || !file || !(prot & PROT_EXEC))
		return ret;
	f = facts_begin_file(FILE_MMAP_EXEC, file, ret);
	if (!f)
		return ret;
	facts_number(f, PLACE_VALUE0, (prot & PROT_WRITE) != 0);
	return facts_end_of(f, file->f_inode);
}

SEC("lsm/file_receive")
int BPF_PROG(file_receive, struct file *file, int ret)
{
	struct facts *f = facts_begin_file(FILE_RECEIVE, file, ret);

	if (!f)
		return ret;
	return facts_end_of(f, file->f_inode);
}
