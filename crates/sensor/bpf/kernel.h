/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * kernel.h - the parts of the kernel's types that the programs here read
 *
 * Only the named fields matter: their offsets and sizes are fitted to the running kernel when a
 * program is loaded (CO-RE), so neither their order here nor what stands between them is the kernel's.
 * Fields that some kernels lack are guarded by bpf_core_field_exists() where they are read.
 */
#ifndef OUTRIGGER_KERNEL_H
#define OUTRIGGER_KERNEL_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;
/* What libbpf's declarations of the helpers name. */
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;

/* uapi/linux/bpf.h */
#define BPF_MAP_TYPE_HASH 1
#define BPF_MAP_TYPE_ARRAY 2
#define BPF_MAP_TYPE_PERCPU_ARRAY 6
#define BPF_MAP_TYPE_ARRAY_OF_MAPS 12
#define BPF_MAP_TYPE_RINGBUF 27
#define BPF_MAP_TYPE_INODE_STORAGE 28
#define BPF_MAP_TYPE_TASK_STORAGE 29
#define BPF_ANY 0
#define BPF_F_NO_PREALLOC (1U << 0)
#define BPF_F_MMAPABLE (1U << 10)
#define BPF_LOCAL_STORAGE_GET_F_CREATE 1
#define BPF_RB_NO_WAKEUP 1
#define BPF_RB_FORCE_WAKEUP 2
#define BPF_RB_AVAIL_DATA 0

struct bpf_dynptr {
	__u64 opaque[2];
} __attribute__((aligned(8)));

/* What programs of sockets' addresses are given; addresses and ports in the network's byte order. */
struct bpf_sock_addr {
	__u32 user_family;
	__u32 user_ip4;
	__u32 user_ip6[4];
	__u32 user_port;
	__u32 family;
	__u32 type;
	__u32 protocol;
};

/* linux/sched.h, linux/sched/signal.h */
#define PF_KTHREAD 0x00200000
#define SIGNAL_GROUP_EXIT 0x00000004

/* linux/stat.h, linux/fs.h, linux/mman.h: the same everywhere */
#define S_IFMT 00170000
#define S_IFREG 0100000
#define S_IFDIR 0040000
#define FMODE_WRITE 0x2
#define FMODE_EXEC_FLAG 0x20 /* __FMODE_EXEC, in f_flags */
#define ATTR_SIZE (1 << 3)
#define ATTR_FILE (1 << 13)
#define ATTR_OPEN (1 << 15)
#define PROT_WRITE 0x2
#define PROT_EXEC 0x4
#define RENAME_EXCHANGE (1 << 1)
#define EPERM 1

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	__u32 val;
} kuid_t;

typedef struct {
	__u32 val;
} kgid_t;

typedef struct {
	__u64 val; /* two halves until Linux 6.3 */
} kernel_cap_t;

struct ns_common {
	unsigned int inum;
};

struct pid_namespace {
	struct ns_common ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	__u64 ino; /* Linux 6.9 and later: the inode number of its pidfds */
	struct upid numbers[1];
};

struct cred {
	kuid_t uid;
	kgid_t gid;
	kuid_t suid;
	kgid_t sgid;
	kuid_t euid;
	kgid_t egid;
	kuid_t fsuid;
	kgid_t fsgid;
	kernel_cap_t cap_inheritable;
	kernel_cap_t cap_permitted;
	kernel_cap_t cap_effective;
};

struct signal_struct {
	atomic_t live;
	int nr_threads;
	int group_exit_code;
	unsigned int flags;
};

struct mnt_namespace {
	struct ns_common ns;
};

struct nsproxy {
	struct mnt_namespace *mnt_ns;
};

/* linux/kernfs.h */
struct kernfs_node {
	struct kernfs_node *parent; /* until Linux 6.14 */
	const char *name;
	__u64 id;
};

struct kernfs_node___since_6_15 {
	struct kernfs_node___since_6_15 *__parent;
};

struct cgroup {
	struct kernfs_node *kn;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

struct file;

struct mm_struct {
	struct file *exe_file;
};

/* Of x86: where the call came from. */
struct thread_info {
	__u32 status;
};

struct task_struct {
	struct thread_info thread_info;
	unsigned int flags;
	int exit_code;
	int pid;
	int tgid;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	__u64 start_boottime;
	const struct cred *real_cred;
	const struct cred *cred;
	struct signal_struct *signal;
	struct mm_struct *mm;
	struct nsproxy *nsproxy;
	struct css_set *cgroups;
};

struct list_head {
	struct list_head *next;
};

struct rlimit {
	unsigned long rlim_cur;
};

struct timespec64 {
	__s64 tv_sec;
};

struct perf_event_attr {
	__u32 type;
};

/* uapi/linux/bpf.h: what BPF_PROG_LOAD is given begins so */
union bpf_attr {
	struct {
		__u32 prog_type;
	};
};

/* Of x86, and of arm64. */
struct pt_regs {
	unsigned long cx;
	unsigned long dx;
	unsigned long si;
	unsigned long orig_ax;
};

struct pt_regs___arm64 {
	__u64 regs[31];
	int syscallno;
};

struct hlist_bl_node {
	struct hlist_bl_node **pprev;
};

struct qstr {
	__u32 len;
	const unsigned char *name;
};

struct super_block {
	__u32 s_dev;
	unsigned long s_magic;
	struct dentry *s_root;
	struct list_head s_mounts; /* until Linux 6.16 */
};

/* What a seqlock_t begins with. */
struct seqcount {
	unsigned int sequence;
};

struct inode {
	unsigned short i_mode;
	kuid_t i_uid;
	kgid_t i_gid;
	unsigned int i_nlink;
	struct super_block *i_sb;
	unsigned long i_ino;
};

struct dentry {
	struct hlist_bl_node d_hash;
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
	struct super_block *d_sb;
};

struct vfsmount {
	struct dentry *mnt_root;
};

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
	struct list_head mnt_instance; /* until Linux 6.16 */
	struct mnt_namespace *mnt_ns;
};

struct mount___since_6_17 {
	struct mount___since_6_17 *mnt_next_for_sb;
};

struct super_block___since_6_17 {
	struct mount___since_6_17 *s_mounts;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct file {
	unsigned int f_flags;
	unsigned int f_mode;
	struct path f_path;
	struct inode *f_inode;
};

struct iattr {
	unsigned int ia_valid;
	struct file *ia_file;
};

/* An iterator's context (linux/bpf.h: bpf_iter_meta, kernel/bpf/task_iter.c). */
struct bpf_iter__task {
	struct task_struct *task;
};

struct linux_binprm {
	struct file *file;
	struct cred *cred;
};

struct vm_area_struct {
	unsigned long vm_flags;
	struct file *vm_file;
};

/* net/sock.h, linux/net.h, linux/socket.h, net/af_unix.h */
struct in6_addr {
	__u8 bytes[16];
};

struct sock_common {
	__be32 skc_rcv_saddr;
	__u16 skc_num; /* the own port, in the machine's byte order */
	unsigned short skc_family;
	struct in6_addr skc_v6_rcv_saddr;
};

struct sock {
	struct sock_common __sk_common;
	__u16 sk_type;
	__u16 sk_protocol;
};

struct socket {
	short type;
	struct sock *sk;
};

struct msghdr {
	void *msg_name;
	int msg_namelen;
	unsigned int msg_flags;
};

struct sockaddr_un {
	unsigned short sun_family;
};

struct unix_address {
	int len;
	struct sockaddr_un name[0];
};

struct unix_sock {
	struct unix_address *addr;
	struct path path;
	struct sock *peer;
};

#pragma clang attribute pop

#endif
