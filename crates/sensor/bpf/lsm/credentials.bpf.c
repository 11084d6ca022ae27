// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * credentials.bpf.c - a process takes other credentials: user, group, capabilities
 *
 * Hooks:   lsm/task_fix_setuid(new, old, flags)        setuid(2) and its kind, setfsuid(2)
 *          lsm/task_fix_setgid(new, old, flags)        the same of groups
 *          lsm/task_fix_setgroups(new, old)            setgroups(2); Linux 6.0
 *          lsm/capset(new, old, ...)                   capset(2)
 *          lsm/bprm_creds_from_file(bprm, file)        what a program gives: set-user-id, set-group-id,
 *                                                      capabilities of a file; before nothing can be
 *                                                      taken back
 * Since:   Linux 5.8; none may sleep
 * Returns: what the rules say; 0 where nobody is asked
 *
 * A call that changes nothing is none, nor is a program that gives no more than there was. The
 * capabilities that a new user namespace gives count in it alone: that is namespace.create. Code of the
 * kernel that takes credentials by itself comes by no hook.
 */
#include "plane.bpf.h"

/* A set of capabilities in one number; how the kernel divides it differs. */
#define CAPABILITIES(cred, set)                                              \
	({                                                                   \
		__u64 bits = 0;                                              \
		bpf_probe_read_kernel(&bits, sizeof(bits), &(cred)->set);    \
		bits;                                                        \
	})

static __always_inline int say(const struct cred *new, int ret)
{
	struct facts *f = facts_begin(PROCESS_CREDENTIALS, ret);

	if (!f)
		return ret;
	facts_number(f, PLACE_VALUE0, BPF_CORE_READ(new, euid.val));
	facts_number(f, PLACE_VALUE1, BPF_CORE_READ(new, egid.val));
	return facts_end(f);
}

SEC("lsm/task_fix_setuid")
int BPF_PROG(credentials_user, struct cred *new, const struct cred *old, int flags, int ret)
{
	if (new->uid.val == old->uid.val && new->euid.val == old->euid.val &&
	    new->suid.val == old->suid.val && new->fsuid.val == old->fsuid.val)
		return ret;
	return say(new, ret);
}

SEC("lsm/task_fix_setgid")
int BPF_PROG(credentials_group, struct cred *new, const struct cred *old, int flags, int ret)
{
	if (new->gid.val == old->gid.val && new->egid.val == old->egid.val &&
	    new->sgid.val == old->sgid.val && new->fsgid.val == old->fsgid.val)
		return ret;
	return say(new, ret);
}

SEC("lsm/task_fix_setgroups")
int BPF_PROG(credentials_groups, struct cred *new, const struct cred *old, int ret)
{
	return say(new, ret);
}

SEC("lsm/capset")
int BPF_PROG(credentials_capabilities, struct cred *new, const struct cred *old, const void *effective,
	     const void *inheritable, const void *permitted, int ret)
{
	__u64 wanted[3] = {};

	bpf_probe_read_kernel(&wanted[0], sizeof(wanted[0]), effective);
	bpf_probe_read_kernel(&wanted[1], sizeof(wanted[1]), inheritable);
	bpf_probe_read_kernel(&wanted[2], sizeof(wanted[2]), permitted);
	if (wanted[0] == CAPABILITIES(old, cap_effective) &&
	    wanted[1] == CAPABILITIES(old, cap_inheritable) &&
	    wanted[2] == CAPABILITIES(old, cap_permitted))
		return ret;
	return say(new, ret);
}

SEC("lsm/bprm_creds_from_file")
int BPF_PROG(credentials_exec, struct linux_binprm *bprm, struct file *file, int ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	const struct cred *old = BPF_CORE_READ(task, cred), *new = BPF_CORE_READ(bprm, cred);

	if (BPF_CORE_READ(new, euid.val) == BPF_CORE_READ(old, euid.val) &&
	    BPF_CORE_READ(new, egid.val) == BPF_CORE_READ(old, egid.val) &&
	    !(CAPABILITIES(new, cap_permitted) & ~CAPABILITIES(old, cap_permitted)))
		return ret;
	return say(new, ret);
}
