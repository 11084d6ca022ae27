/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * paths.bpf.h - the path of a file, by a bounded walk from its name to the root
 *
 * A path is the one that the machine's own mount namespace (the one of process 1) gives a file: through
 * the oldest mount there of its file system. So a mount that somebody makes in a namespace of his own,
 * or a bind mount made later, gives no file another path, and cannot make a file look like another. A
 * file system that is mounted elsewhere only gives paths that begin with "(unreachable)", as the kernel
 * itself says; they are of the mount by which the file was found.
 *
 * Nothing is locked. The sequence numbers of the kernel's rename_lock and mount_lock are read before and
 * after, and the walk is done again if one has moved. What moves through every try is as the last walk
 * found it, and not kept: anybody can rename something somewhere all the time, and must not by that take
 * the names away that rules ask for. Only who moves the file itself can have it seen between two places.
 */
#ifndef OUTRIGGER_PATHS_BPF_H
#define OUTRIGGER_PATHS_BPF_H

/* Names and mounts that a path can have; mounts of one file system that are looked at; tries. */
#define WALK_STEPS 4096
#define WALK_MOUNTS 4096
#define WALK_TRIES 32
/* Longest name of a file (linux/limits.h: NAME_MAX). */
#define WALK_NAME 255

enum walk_end {
	WALK_ON,
	WALK_TOP,  /* the root of the mounts: the path is whole */
	WALK_LOST, /* no way to the root of the mount, or too long */
};

struct walking {
	struct facts *facts;
	struct spot *from;
};

static __always_inline struct mount *mount_of(__u64 mnt)
{
	return (void *)mnt - bpf_core_field_offset(struct mount, mnt);
}

/* A place in the room that the walk fills. */
static __always_inline char *room_at(struct facts *f, __u32 at)
{
	return &f->path[bounded(f->walk.base + (at & (FACTS_PATH - 1)), 2 * FACTS_PATH - 1)];
}

static int walk_up(__u32 step, struct walking *walking)
{
	struct facts *f = walking->facts;
	struct walk *walk = &f->walk;
	struct dentry *dentry = (void *)walk->dentry, *parent;
	__u32 at = walk->at, len;

	if (walk->dentry == walk->root) {
		struct mount *mount = (void *)walk->mount;
		struct mount *above = BPF_CORE_READ(mount, mnt_parent);

		if (above == mount) {
			walk->end = WALK_TOP;
			return 1;
		}
		walk->dentry = (__u64)BPF_CORE_READ(mount, mnt_mountpoint);
		walk->mount = (__u64)above;
		walk->root = (__u64)BPF_CORE_READ(above, mnt.mnt_root);
		return 0;
	}
	parent = BPF_CORE_READ(dentry, d_parent);
	len = BPF_CORE_READ(dentry, d_name.len);
	if (parent == dentry || !len || len > WALK_NAME || at <= len) {
		walk->end = WALK_LOST;
		return 1;
	}
	at -= len;
	bpf_probe_read_kernel(room_at(f, at), bounded(len, WALK_NAME),
			      BPF_CORE_READ(dentry, d_name.name));
	*room_at(f, --at) = '/';
	walk->at = at;
	walk->dentry = (__u64)parent;
	return 0;
}

/* Looks at one mount of a file system for the one that its paths are told by. */
static int look_at_mount(__u32 step, struct walking *walking)
{
	struct facts *f = walking->facts;
	struct walk *walk = &f->walk;
	struct mount *mount = (void *)walk->listed;
	struct dentry *root = BPF_CORE_READ(mount, mnt.mnt_root);
	struct mount___since_6_17 *next = (void *)mount;
	int newest_first = bpf_core_field_exists(next->mnt_next_for_sb);

	if (BPF_CORE_READ(mount, mnt_ns, ns.inum) == settings.mount_namespace) {
		/* walk.dentry: the file system's root; walk.root: that of the mount it was found by. */
		if ((__u64)root == walk->dentry || (__u64)root == walk->root) {
			walk->chosen = (__u64)mount;
			if (!newest_first)
				return 1;
		} else if (newest_first || !walk->part) {
			walk->part = (__u64)mount;
		}
	}
	if (newest_first) {
		walk->listed = (__u64)BPF_CORE_READ(next, mnt_next_for_sb);
		return !walk->listed;
	}
	walk->listed = (__u64)BPF_CORE_READ(mount, mnt_instance.next);
	if (!walk->listed || walk->listed == walk->mount)
		return 1;
	walk->listed -= bpf_core_field_offset(struct mount, mnt_instance);
	return 0;
}

/* The mount that the paths of a file are told by; 0 if there is none. */
static __always_inline __u64 choose_mount(struct walking *walking, __u64 mnt, struct dentry *dentry)
{
	struct facts *f = walking->facts;
	struct walk *walk = &f->walk;
	struct super_block *sb = BPF_CORE_READ(dentry, d_sb);
	struct super_block___since_6_17 *since = (void *)sb;
	struct vfsmount *own = (void *)mnt;

	walk->dentry = (__u64)BPF_CORE_READ(sb, s_root);
	walk->root = mnt ? (__u64)BPF_CORE_READ(own, mnt_root) : 0;
	walk->chosen = 0;
	walk->part = 0;
	/* Both lists in the kernel's memory end where walk.mount says, or with 0. */
	if (bpf_core_type_exists(struct mount___since_6_17) &&
	    bpf_core_field_exists(((struct mount___since_6_17 *)0)->mnt_next_for_sb)) {
		walk->listed = (__u64)BPF_CORE_READ(since, s_mounts);
		walk->mount = 0;
		if (!walk->listed)
			return 0;
	} else {
		walk->listed = (__u64)BPF_CORE_READ(sb, s_mounts.next);
		walk->mount = (__u64)sb + bpf_core_field_offset(struct super_block, s_mounts);
		if (!walk->listed || walk->listed == walk->mount)
			return 0;
		walk->listed -= bpf_core_field_offset(struct mount, mnt_instance);
	}
	bpf_loop(WALK_MOUNTS, look_at_mount, walking, 0);
	return walk->chosen ? walk->chosen : walk->part;
}

static __always_inline void walk_from(struct walking *walking, struct dentry *dentry,
				      struct mount *mount, __u32 at)
{
	struct facts *f = walking->facts;
	struct walk *walk = &f->walk;

	walk->dentry = (__u64)dentry;
	walk->mount = (__u64)mount;
	walk->root = (__u64)BPF_CORE_READ(mount, mnt.mnt_root);
	walk->at = at;
	walk->end = WALK_ON;
	bpf_loop(WALK_STEPS, walk_up, walking, 0);
}

/* Reads as a field is read, without a call (Linux 6.2). */
extern void *bpf_rdonly_cast(const void *object, __u32 type) __ksym __weak;

/* The sequence number of a lock of the kernel's, which it begins with; odd while somebody holds it. */
static __always_inline __u64 sequence(__u64 lock)
{
	__u32 now;

	if (!lock)
		return 1;
	if (bpf_ksym_exists(bpf_rdonly_cast))
		return ((struct seqcount *)bpf_rdonly_cast((void *)lock,
							   bpf_core_type_id_kernel(struct seqcount)))
			->sequence;
	if (bpf_probe_read_kernel(&now, sizeof(now), (void *)lock))
		return 1;
	return now;
}

/* What the kernel writes behind the path of a file whose name is gone, and before one without a way. */
static const char gone[10] = " (deleted)";
static const char unreachable[13] = "(unreachable)";

/* One try of the walk. Ends the tries if nothing moved meanwhile. */
static int try_walk(__u32 step, struct walking *walking)
{
	struct facts *f = walking->facts;
	struct walk *walk = &f->walk;
	struct dentry *dentry = (void *)walking->from->dentry;
	__u64 mnt = walking->from->mnt, mount, parent;
	__u32 at = FACTS_PATH;

	walk->renames = sequence(settings.rename_lock);
	walk->mounts = sequence(settings.mount_lock);
	parent = (__u64)BPF_CORE_READ(dentry, d_parent);
	if (BPF_CORE_READ(dentry, d_inode) && !BPF_CORE_READ(dentry, d_hash.pprev) &&
	    (parent != (__u64)dentry || !mnt ||
	     BPF_CORE_READ((struct vfsmount *)mnt, mnt_root) != dentry)) {
		at -= sizeof(gone);
		__builtin_memcpy(room_at(f, FACTS_PATH - sizeof(gone)), gone, sizeof(gone));
	}
	mount = choose_mount(walking, mnt, dentry);
	walk->end = WALK_LOST;
	if (mount)
		walk_from(walking, dentry, (void *)mount, at);
	if (walk->end != WALK_TOP && mnt && parent != (__u64)dentry) {
		walk_from(walking, dentry, mount_of(mnt), at);
		if (walk->end == WALK_TOP && walk->at >= sizeof(unreachable)) {
			walk->at -= sizeof(unreachable);
			__builtin_memcpy(room_at(f, walk->at), unreachable, sizeof(unreachable));
		} else {
			walk->end = WALK_LOST;
		}
	} else if (walk->end != WALK_TOP && parent == (__u64)dentry) {
		/* A file in memory: it has a name and no place. */
		__u32 len = BPF_CORE_READ(dentry, d_name.len);

		if (len && len <= WALK_NAME) {
			at -= len;
			bpf_probe_read_kernel(room_at(f, at), bounded(len, WALK_NAME),
					      BPF_CORE_READ(dentry, d_name.name));
			*room_at(f, --at) = '/';
			walk->at = at;
			walk->end = WALK_TOP;
		}
	}
	if (walk->end == WALK_TOP && walk->at == FACTS_PATH)
		*room_at(f, --walk->at) = '/';
	if (!settings.rename_lock || !settings.mount_lock)
		return 1; /* nothing to look at */
	return !((walk->renames | walk->mounts) & 1) &&
	       sequence(settings.rename_lock) == walk->renames &&
	       sequence(settings.mount_lock) == walk->mounts;
}

/*
 * Walks from a spot; whether the path is known. It then stands in the room that begins `base` bytes
 * behind f->path, from f->walk.at to the room's end.
 */
static __always_inline int find_path(struct facts *f, struct spot *from, __u32 base)
{
	struct walking walking;

	walking.facts = f;
	walking.from = from;
	f->walk.base = base;
	f->walk.end = WALK_ON;
	/* The last try counts as one that something moved in. */
	if (bpf_loop(WALK_TRIES, try_walk, &walking, 0) == WALK_TRIES)
		f->state &= ~FACTS_STABLE;
	return f->walk.end == WALK_TOP && f->walk.at < FACTS_PATH;
}

#endif
