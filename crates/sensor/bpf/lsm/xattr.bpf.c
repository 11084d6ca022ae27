// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * xattr.bpf.c - extended attributes are set and removed
 *
 * Hooks:   lsm/inode_setxattr(idmap, dentry, name, value, size, flags)
 *          lsm/inode_removexattr(idmap, dentry, name)
 *          lsm/inode_set_acl(idmap, dentry, name, acl)     POSIX access lists, which came by
 *          lsm/inode_remove_acl(idmap, dentry, name)       the two above before Linux 6.2
 * Since:   Linux 5.7, 6.2; none sleeps here
 * Returns: what the rules say; 0 where nobody is asked
 *
 * The hooks say the file without the mount on which it was found. Its path is that of a mount of its
 * file system, where that is known.
 */
#include "plane.bpf.h"

static __always_inline int say(struct facts *f, struct dentry *dentry, const char *name)
{
	facts_dentry(f, dentry);
	facts_text(f, name);
	return facts_end_of(f, dentry->d_inode);
}

SEC("lsm/inode_setxattr")
int BPF_PROG(file_setxattr, void *idmap, struct dentry *dentry, const char *name, const void *value,
	     __u64 size, int flags, int ret)
{
	struct facts *f = facts_begin(FILE_SETXATTR, ret);

	return f ? say(f, dentry, name) : ret;
}

SEC("lsm/inode_set_acl")
int BPF_PROG(file_setxattr_acl, void *idmap, struct dentry *dentry, const char *name, void *acl,
	     int ret)
{
	struct facts *f = facts_begin(FILE_SETXATTR, ret);

	return f ? say(f, dentry, name) : ret;
}

SEC("lsm/inode_removexattr")
int BPF_PROG(file_removexattr, void *idmap, struct dentry *dentry, const char *name, int ret)
{
	struct facts *f = facts_begin(FILE_REMOVEXATTR, ret);

	return f ? say(f, dentry, name) : ret;
}

SEC("lsm/inode_remove_acl")
int BPF_PROG(file_removexattr_acl, void *idmap, struct dentry *dentry, const char *name, int ret)
{
	struct facts *f = facts_begin(FILE_REMOVEXATTR, ret);

	return f ? say(f, dentry, name) : ret;
}
