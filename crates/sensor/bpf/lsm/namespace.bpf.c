// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * namespace.bpf.c - namespaces are made and entered
 *
 * Hooks:   lsm/userns_create(cred)                        a user namespace is about to be made; Linux 6.1
 *          fexit/copy_namespaces(flags, task)             others, by clone(2): in the parent
 *          fexit/unshare_nsproxy_namespaces(flags, ...)   others, by unshare(2)
 *          fexit/NAMEns_install(set, namespace)              setns(2), one of each kind
 * Returns: the first what the rules say; the others tell of what was done, and decide nothing
 *
 * The functions behind fexit are the kernel's own and no promise: each is tried. A setns(2) that fails
 * at a later one of several namespaces has been told of for those before it.
 */
#include "plane.bpf.h"

/* uapi/linux/sched.h */
#define CLONE_NEWTIME 0x00000080
#define CLONE_NEWNS 0x00020000
#define CLONE_NEWCGROUP 0x02000000
#define CLONE_NEWUTS 0x04000000
#define CLONE_NEWIPC 0x08000000
#define CLONE_NEWUSER 0x10000000
#define CLONE_NEWPID 0x20000000
#define CLONE_NEWNET 0x40000000
/* Those that userns_create does not see. */
#define OTHERS                                                                         \
	(CLONE_NEWTIME | CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | \
	 CLONE_NEWPID | CLONE_NEWNET)

SEC("lsm/userns_create")
int BPF_PROG(namespace_create, const struct cred *cred, int ret)
{
	struct facts *f = facts_begin(NAMESPACE_CREATE, ret);

	if (!f)
		return ret;
	facts_number(f, PLACE_VALUE0, CLONE_NEWUSER);
	return facts_end(f);
}

static __always_inline int tell(struct facts *f, __u64 kinds)
{
	if (!f)
		return 0;
	facts_number(f, PLACE_VALUE0, kinds);
	facts_done(f);
	facts_end(f);
	return 0;
}

SEC("fexit/copy_namespaces")
int BPF_PROG(namespace_create_clone, __u64 flags, struct task_struct *task, int ret)
{
	if (ret || !(flags & OTHERS))
		return 0;
	return tell(facts_begin(NAMESPACE_CREATE, 0), flags & OTHERS);
}

SEC("fexit/unshare_nsproxy_namespaces")
int BPF_PROG(namespace_create_unshare, __u64 flags, void *made, void *cred, void *fs, int ret)
{
	if (ret || !(flags & OTHERS))
		return 0;
	return tell(facts_begin(NAMESPACE_CREATE, 0), flags & OTHERS);
}

#define ENTERED(name, kind)                                                      \
	SEC("fexit/" #name "_install")                                           \
	int BPF_PROG(namespace_enter_##name, void *set, void *ns, int ret)       \
	{                                                                        \
		return tell(facts_begin(NAMESPACE_ENTER, ret), kind);                    \
	}

ENTERED(mntns, CLONE_NEWNS)
ENTERED(cgroupns, CLONE_NEWCGROUP)
ENTERED(utsns, CLONE_NEWUTS)
ENTERED(ipcns, CLONE_NEWIPC)
ENTERED(userns, CLONE_NEWUSER)
ENTERED(pidns, CLONE_NEWPID)
ENTERED(netns, CLONE_NEWNET)
ENTERED(timens, CLONE_NEWTIME)
