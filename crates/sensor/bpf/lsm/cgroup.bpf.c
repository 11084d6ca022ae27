// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * cgroup.bpf.c - what net.bpf.c sees of connecting, binding and sending, where LSM programs do not load
 *
 * Hooks:   cgroup/connect4, connect6, bind4, bind6, sendmsg4, sendmsg6(address), at the root of cgroup v2
 * Since:   Linux 5.2; but what is remembered of processes can be had here on later kernels than 6.12 only
 * Returns: 1, or 0 where the rules deny, which the caller sees as EPERM
 *
 * Only TCP and UDP come here, bind(2) also of raw sockets: what is connected by another protocol is not
 * seen. A connection that a first message makes (TCP's fast open) is.
 */
#include "plane.bpf.h"

/* linux/socket.h */
#define AF_INET 2
#define AF_INET6 10

static __always_inline int decide(__u32 index, __u16 event, struct endpoint *to)
{
	struct facts *f = facts_begin_event(index, event, 0, 0, to);

	if (!f)
		return 1;
	facts_endpoint(f, to);
	return !facts_end_with(f, to);
}

static __always_inline int decide4(__u32 index, __u16 event, const struct bpf_sock_addr *of)
{
	struct endpoint to = {
		.kind = endpoint_kind(index, AF_INET, of->user_port, of->protocol, of->type),
	};
	__u8 *address = (__u8 *)to.address;

	address[10] = 0xff;
	address[11] = 0xff;
	*(__u32 *)&address[12] = of->user_ip4;
	return decide(index, event, &to);
}

static __always_inline int decide6(__u32 index, __u16 event, const struct bpf_sock_addr *of)
{
	struct endpoint to = {
		.kind = endpoint_kind(index, AF_INET6, of->user_port, of->protocol, of->type),
	};
	__u32 *address = (__u32 *)to.address;

	address[0] = of->user_ip6[0];
	address[1] = of->user_ip6[1];
	address[2] = of->user_ip6[2];
	address[3] = of->user_ip6[3];
	return decide(index, event, &to);
}

SEC("cgroup/connect4")
int cgroup_connect4(struct bpf_sock_addr *to)
{
	return decide4(EVENT_NET_CONNECT, NUMBER_NET_CONNECT, to);
}

SEC("cgroup/connect6")
int cgroup_connect6(struct bpf_sock_addr *to)
{
	return decide6(EVENT_NET_CONNECT, NUMBER_NET_CONNECT, to);
}

SEC("cgroup/bind4")
int cgroup_bind4(struct bpf_sock_addr *as)
{
	return decide4(EVENT_NET_BIND, NUMBER_NET_BIND, as);
}

SEC("cgroup/bind6")
int cgroup_bind6(struct bpf_sock_addr *as)
{
	return decide6(EVENT_NET_BIND, NUMBER_NET_BIND, as);
}

SEC("cgroup/sendmsg4")
int cgroup_sendmsg4(struct bpf_sock_addr *to)
{
	return decide4(EVENT_NET_SEND, NUMBER_NET_SEND, to);
}

SEC("cgroup/sendmsg6")
int cgroup_sendmsg6(struct bpf_sock_addr *to)
{
	return decide6(EVENT_NET_SEND, NUMBER_NET_SEND, to);
}
