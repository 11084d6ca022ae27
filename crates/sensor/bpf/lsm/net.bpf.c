// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * net.bpf.c - sockets are made, bound, connected, listened on, and sent by
 *
 * Hooks:   lsm/socket_create(family, type, protocol, kern), socket_bind(socket, address, len),
 *          socket_connect(socket, address, len), socket_listen(socket, backlog),
 *          socket_accept(socket, new), socket_sendmsg(socket, message, size)
 * Since:   Linux 5.7; none sleeps here
 * Returns: what the rules say; 0 where nobody is asked
 *
 * Addresses are the kernel's copies, so nobody changes them afterwards. They are read as the protocols
 * read them: where one takes an address without a family for one of IPv4, so does this. Connecting and
 * sending by Unix sockets is unix.connect. A connection that a first message makes (TCP's fast open)
 * is net.connect, though the kernel does not call it so.
 */
#include "plane.bpf.h"

/* linux/socket.h, linux/net.h */
#define AF_UNSPEC 0
#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define MSG_FASTOPEN 0x20000000

static __always_inline __u16 family_of(const struct socket *socket)
{
	return BPF_CORE_READ(socket, sk, __sk_common.skc_family);
}

static __always_inline void say_kind(struct facts *f, const struct socket *socket)
{
	facts_number(f, PLACE_VALUE0, BPF_CORE_READ(socket, sk, sk_protocol));
	facts_number(f, PLACE_VALUE1, (__u16)BPF_CORE_READ(socket, type));
}

/* The family that an address says; AF_UNSPEC if it says none. */
static __always_inline __u16 said(const void *address, int len)
{
	__u16 family = AF_UNSPEC;

	if (len >= (int)sizeof(family))
		bpf_probe_read_kernel(&family, sizeof(family), address);
	return family;
}

static __always_inline void say_address(struct facts *f, const struct socket *socket,
					const void *address, int len)
{
	__be16 port = 0;

	if (said(address, len) != AF_UNSPEC || family_of(socket) != AF_INET || len < 8) {
		facts_sockaddr(f, address, len);
		return;
	}
	bpf_probe_read_kernel(&port, sizeof(port), address + 2);
	facts_address(f, AF_INET, address + 4, port);
}

/* The address that a socket has. */
static __always_inline void say_own_address(struct facts *f, const struct socket *socket)
{
	struct sock *sk = BPF_CORE_READ(socket, sk);
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);
	__be16 port = __builtin_bswap16(BPF_CORE_READ(sk, __sk_common.skc_num));

	if (family == AF_INET6)
		facts_address(f, family, &sk->__sk_common.skc_v6_rcv_saddr, port);
	else
		facts_address(f, family, &sk->__sk_common.skc_rcv_saddr, port);
}

SEC("lsm/socket_create")
int BPF_PROG(net_socket, int family, int type, int protocol, int kern, int ret)
{
	struct facts *f;

	/* The kernel makes one for itself. */
	if (kern)
		return ret;
	f = facts_begin(NET_SOCKET, ret);
	if (!f)
		return ret;
	facts_number(f, PLACE_FAMILY, (__u32)family);
	facts_number(f, PLACE_VALUE0, (__u32)protocol);
	facts_number(f, PLACE_VALUE1, (__u32)type);
	return facts_end(f);
}

SEC("lsm/socket_bind")
int BPF_PROG(net_bind, struct socket *socket, const void *address, int len, int ret)
{
	struct facts *f = facts_begin(NET_BIND, ret);

	if (!f)
		return ret;
	say_kind(f, socket);
	say_address(f, socket, address, len);
	return facts_end(f);
}

SEC("lsm/socket_connect")
int BPF_PROG(net_connect, struct socket *socket, const void *address, int len, int ret)
{
	struct facts *f;

	/* Without a family it takes a connection back. */
	if (family_of(socket) == AF_UNIX || said(address, len) == AF_UNSPEC)
		return ret;
	f = facts_begin(NET_CONNECT, ret);
	if (!f)
		return ret;
	say_kind(f, socket);
	say_address(f, socket, address, len);
	return facts_end(f);
}

SEC("lsm/socket_listen")
int BPF_PROG(net_listen, struct socket *socket, int backlog, int ret)
{
	struct facts *f = facts_begin(NET_LISTEN, ret);

	if (!f)
		return ret;
	say_kind(f, socket);
	say_own_address(f, socket);
	return facts_end(f);
}

SEC("lsm/socket_accept")
int BPF_PROG(net_accept, struct socket *socket, struct socket *new, int ret)
{
	struct facts *f = facts_begin(NET_ACCEPT, ret);

	if (!f)
		return ret;
	say_kind(f, socket);
	say_own_address(f, socket);
	return facts_end(f);
}

SEC("lsm/socket_sendmsg")
int BPF_PROG(net_send, struct socket *socket, struct msghdr *message, int size, int ret)
{
	const void *address = BPF_CORE_READ(message, msg_name);
	__u16 family;
	struct facts *f;

	if (!address || BPF_CORE_READ(socket, type) == SOCK_STREAM)
		return ret;
	family = family_of(socket);
	/* An address without a family is none to IPv6. */
	if (family == AF_UNIX ||
	    (family == AF_INET6 && said(address, BPF_CORE_READ(message, msg_namelen)) == AF_UNSPEC))
		return ret;
	f = facts_begin(NET_SEND, ret);
	if (!f)
		return ret;
	say_kind(f, socket);
	say_address(f, socket, address, BPF_CORE_READ(message, msg_namelen));
	return facts_end(f);
}

SEC("lsm/socket_sendmsg")
int BPF_PROG(net_connect_fast, struct socket *socket, struct msghdr *message, int size, int ret)
{
	const void *address;
	struct facts *f;

	if (!(BPF_CORE_READ(message, msg_flags) & MSG_FASTOPEN) ||
	    BPF_CORE_READ(socket, type) != SOCK_STREAM || family_of(socket) == AF_UNIX)
		return ret;
	address = BPF_CORE_READ(message, msg_name);
	if (!address)
		return ret;
	f = facts_begin(NET_CONNECT, ret);
	if (!f)
		return ret;
	say_kind(f, socket);
	say_address(f, socket, address, BPF_CORE_READ(message, msg_namelen));
	return facts_end(f);
}
