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

static __always_inline void say_kind(struct facts *f, const struct bpf_sock_addr *of)
{
	facts_number(f, PLACE_VALUE0, of->protocol);
	facts_number(f, PLACE_VALUE1, of->type);
}

static __always_inline int decide4(struct facts *f, const struct bpf_sock_addr *of)
{
	__u32 address;

	if (!f)
		return 1;
	say_kind(f, of);
	address = of->user_ip4;
	facts_address(f, AF_INET, &address, of->user_port);
	return !facts_end(f);
}

static __always_inline int decide6(struct facts *f, const struct bpf_sock_addr *of)
{
	__u32 address[4];

	if (!f)
		return 1;
	say_kind(f, of);
	address[0] = of->user_ip6[0];
	address[1] = of->user_ip6[1];
	address[2] = of->user_ip6[2];
	address[3] = of->user_ip6[3];
	facts_address(f, AF_INET6, address, of->user_port);
	return !facts_end(f);
}

SEC("cgroup/connect4")
int cgroup_connect4(struct bpf_sock_addr *to)
{
	return decide4(facts_begin(NET_CONNECT, 0), to);
}

SEC("cgroup/connect6")
int cgroup_connect6(struct bpf_sock_addr *to)
{
	return decide6(facts_begin(NET_CONNECT, 0), to);
}

SEC("cgroup/bind4")
int cgroup_bind4(struct bpf_sock_addr *as)
{
	return decide4(facts_begin(NET_BIND, 0), as);
}

SEC("cgroup/bind6")
int cgroup_bind6(struct bpf_sock_addr *as)
{
	return decide6(facts_begin(NET_BIND, 0), as);
}

SEC("cgroup/sendmsg4")
int cgroup_sendmsg4(struct bpf_sock_addr *to)
{
	return decide4(facts_begin(NET_SEND, 0), to);
}

SEC("cgroup/sendmsg6")
int cgroup_sendmsg6(struct bpf_sock_addr *to)
{
	return decide6(facts_begin(NET_SEND, 0), to);
}
