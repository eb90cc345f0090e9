/*
 * The fast path: TCP and UDP between containers, without bridge and VXLAN device.
 *
 *     c1 ── port ╌╌ gate0 ╌╌ gate ╌╌ underlay ══ VXLAN ══ underlay ╌╌ gate ╌╌ gate0 ╌╌ port ── c2
 *     └ container ┘└ sandbox ┘└── host ──┘                └── host ──┘└ sandbox ┘└ container ┘
 *
 * Each ╌╌ is a redirection in the same softirq; redirections look a link up in the packet's namespace only, so that a
 * veth pair, the gate, stands between sandbox and host, and nothing ever travels on it. What is not in the maps, and
 * whatever is unusual, goes the kernel's way as if no program were there. Addresses are in network order.
 */
#include <linux/bpf.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;

#define SECTION(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define ntohs(value) __builtin_bswap16(value)
#define htons(value) __builtin_bswap16(value)
#define ntohl(value) __builtin_bswap32(value)
#define htonl(value) __builtin_bswap32(value)

/* enum tcx_action_base, linux/bpf.h since 6.6 */
#define NEXT -1
#define DROP 2
/* linux/socket.h */
#define AF_INET 2
/* linux/if_packet.h */
#define PACKET_HOST 0
/* linux/if_ether.h, linux/in.h */
#define ETHERTYPE_IPV4 0x0800
#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
/* RFC 791: version 4 and five words of header, so no options; flag MF and the offset; the two bits of RFC 3168. */
#define VERSION_AND_LENGTH 0x45
#define FRAGMENT 0x3fff
#define ECN_MASK 3
#define ECN_CONGESTION 3
#define ECN_CAPABLE 2
#define MAXIMUM_IP_LENGTH 65535
/* What the kernel writes for the length of a segment that is larger (iph_set_totlen, linux/ip.h). */
#define LARGE 0
/* RFC 7348: the flag I; ports of a tunnel are of the dynamic range, 49152 to 65535. */
#define VXLAN_HAS_VNI 0x08000000
#define FIRST_SOURCE_PORT 49152
#define SOURCE_PORTS 16384
/* net.ipv4.ip_default_ttl, what a VXLAN device takes as well */
#define TTL 64

struct ethernet {
	u8 destination[6];
	u8 source[6];
	u16 type;
} __attribute__((packed));

struct ipv4 {
	u8 version_and_length;
	u8 service;
	u16 length;
	u16 identification;
	u16 fragment;
	u8 ttl;
	u8 protocol;
	u16 checksum;
	u32 source;
	u32 destination;
} __attribute__((packed));

struct udp {
	u16 source;
	u16 destination;
	u16 length;
	u16 checksum;
} __attribute__((packed));

struct vxlan {
	u32 flags;
	u32 vni;
} __attribute__((packed));

/* What VXLAN puts between a frame's Ethernet header and its packet. */
struct tunnel {
	struct ipv4 ip;
	struct udp udp;
	struct vxlan vxlan;
	struct ethernet inner;
} __attribute__((packed));

struct frame {
	struct ethernet ethernet;
	struct ipv4 ip;
} __attribute__((packed));

struct carried {
	struct ethernet ethernet;
	struct tunnel tunnel;
	struct ipv4 inner;
} __attribute__((packed));

/* Maps; records.ts writes them. */

struct address {
	u32 vni;
	u32 ip;
};

/* An endpoint on another host. */
struct peer {
	u32 vtep;
	u8 mac[6];
	/* Its host takes tunnel packets that are larger than their lengths can say. */
	u16 takes_large;
};

/* An endpoint of this host, as the underlay sees it. */
struct endpoint {
	/* The gate's index in the host's namespace. */
	u32 gate;
	u8 mac[6];
	u16 padding;
};

/* An endpoint of this host, as its network sees it. */
struct resident {
	u32 vni;
	u32 ip;
	/* The port's index in the sandbox. */
	u32 port;
	u8 mac[6];
	u16 padding;
};

struct host {
	u32 vtep;
	/* The underlay's link. */
	u32 device;
	/* UDP port of VXLAN, in network order. */
	u16 udp_port;
	u16 padding;
	/* Hosts that are neighbours on the link, without a gateway between: whose bits under the mask are these. */
	u32 network;
	u32 mask;
};

struct sandbox {
	/* The gate's index in the sandbox. */
	u32 gate;
	u32 mtu;
};

struct map {
	u32 type, key_size, value_size, max_entries, map_flags;
};

/* Of the host: all networks. */
struct map peers SECTION("maps") = {
	BPF_MAP_TYPE_HASH, sizeof(struct address), sizeof(struct peer), 1 << 17, BPF_F_NO_PREALLOC
};
struct map endpoints SECTION("maps") = {
	BPF_MAP_TYPE_HASH, sizeof(struct address), sizeof(struct endpoint), 1 << 14, BPF_F_NO_PREALLOC
};
struct map host SECTION("maps") = { BPF_MAP_TYPE_ARRAY, sizeof(u32), sizeof(struct host), 1, 0 };
/* Of one network: its endpoints here, by their port and by their address. */
struct map ports SECTION("maps") = {
	BPF_MAP_TYPE_HASH, sizeof(u32), sizeof(struct resident), 1 << 14, BPF_F_NO_PREALLOC
};
struct map residents SECTION("maps") = {
	BPF_MAP_TYPE_HASH, sizeof(u32), sizeof(struct resident), 1 << 14, BPF_F_NO_PREALLOC
};
struct map sandbox SECTION("maps") = { BPF_MAP_TYPE_ARRAY, sizeof(u32), sizeof(struct sandbox), 1, 0 };

static void *(*lookup)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static u32 (*random)(void) = (void *)BPF_FUNC_get_prandom_u32;
static long (*load_bytes)(const void *packet, u32 offset, void *to, u32 length) = (void *)BPF_FUNC_skb_load_bytes;
static long (*store_bytes)(struct __sk_buff *packet, u32 offset, const void *from, u32 length, u64 flags) =
	(void *)BPF_FUNC_skb_store_bytes;
static long (*pull_data)(struct __sk_buff *packet, u32 length) = (void *)BPF_FUNC_skb_pull_data;
static long (*change_type)(struct __sk_buff *packet, u32 type) = (void *)BPF_FUNC_skb_change_type;
static long (*adjust_room)(struct __sk_buff *packet, int difference, u32 mode, u64 flags) =
	(void *)BPF_FUNC_skb_adjust_room;
static u32 (*flow_hash)(struct __sk_buff *packet) = (void *)BPF_FUNC_get_hash_recalc;
static long (*redirect_peer)(u32 index, u64 flags) = (void *)BPF_FUNC_redirect_peer;
static long (*redirect_neigh)(u32 index, void *neighbour, int length, u64 flags) = (void *)BPF_FUNC_redirect_neigh;

/* @returns the first `length` bytes of the packet in one piece, or 0. */
INLINE void *head(struct __sk_buff *packet, u32 length)
{
	if ((void *)(long)packet->data + length > (void *)(long)packet->data_end && pull_data(packet, length))
		return 0;
	if ((void *)(long)packet->data + length > (void *)(long)packet->data_end)
		return 0;
	return (void *)(long)packet->data;
}

INLINE int same_mac(const u8 *left, const u8 *right)
{
	u8 difference = 0;
#pragma unroll
	for (int byte = 0; byte < 6; byte++)
		difference |= left[byte] ^ right[byte];
	return difference == 0;
}

/* Whole packets of TCP and UDP without options: all that the fast path takes. */
INLINE int is_usual(const struct ipv4 *ip)
{
	return ip->version_and_length == VERSION_AND_LENGTH && !(ip->fragment & htons(FRAGMENT)) &&
	       (ip->protocol == PROTOCOL_TCP || ip->protocol == PROTOCOL_UDP);
}

/* @returns whether the packet, or each into which it will be cut, keeps within the MTU. */
INLINE int fits(struct __sk_buff *packet, u8 protocol, u32 mtu)
{
	u32 size = packet->gso_size, header = sizeof(struct udp);
	u8 offset;
	if (size == 0)
		return packet->len - sizeof(struct ethernet) <= mtu;
	if (protocol == PROTOCOL_TCP) {
		/* RFC 9293: the header's length in words is the upper half of byte 12. */
		if (load_bytes(packet, sizeof(struct frame) + 12, &offset, sizeof(offset)))
			return 0;
		header = (offset >> 4) * 4;
	}
	return sizeof(struct ipv4) + header + size <= mtu;
}

/* RFC 1071, of a header without options whose checksum field is 0. */
INLINE u16 checksum(const struct ipv4 *ip)
{
	const u16 *words = (const u16 *)ip;
	u32 sum = 0;
#pragma unroll
	for (u32 word = 0; word < sizeof(*ip) / 2; word++)
		sum += words[word];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* A frame from a container, at the host's end of its veth pair. */
SECTION("from_container") int skein_send(struct __sk_buff *packet)
{
	u32 zero = 0, index = packet->ifindex;
	u64 room = BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP |
		   BPF_F_ADJ_ROOM_ENCAP_L2(sizeof(struct ethernet)) | BPF_F_ADJ_ROOM_ENCAP_L2_ETH;

	if (packet->protocol != htons(ETHERTYPE_IPV4) || packet->vlan_present)
		return NEXT;
	struct frame *frame = head(packet, sizeof(*frame));
	struct resident *own = lookup(&ports, &index);
	struct sandbox *here = lookup(&sandbox, &zero);
	struct host *us = lookup(&host, &zero);
	if (!frame || !own || !here || !us || !is_usual(&frame->ip))
		return NEXT;
	/* Nobody speaks in another's name. */
	if (frame->ip.source != own->ip || !same_mac(frame->ethernet.source, own->mac))
		return NEXT;

	u32 destination = frame->ip.destination;
	u8 protocol = frame->ip.protocol, congestion = frame->ip.service & ECN_MASK;
	struct tunnel tunnel = {};
	tunnel.inner = frame->ethernet;
	if (!fits(packet, protocol, here->mtu))
		return NEXT;

	struct resident *neighbour = lookup(&residents, &destination);
	if (neighbour) {
		if (neighbour->vni != own->vni || !same_mac(tunnel.inner.destination, neighbour->mac))
			return NEXT;
		change_type(packet, PACKET_HOST);
		return redirect_peer(neighbour->port, 0);
	}

	struct address key = { .vni = own->vni, .ip = destination };
	struct peer *peer = lookup(&peers, &key);
	u32 length = packet->len + sizeof(tunnel) - sizeof(struct ethernet);
	int is_large = length > MAXIMUM_IP_LENGTH;
	if (!peer || !same_mac(tunnel.inner.destination, peer->mac) || (is_large && !peer->takes_large) || !here->gate ||
	    !us->device)
		return NEXT;
	tunnel.ip.version_and_length = VERSION_AND_LENGTH;
	/* RFC 6040: the tunnel can be told of congestion, and does not claim any. */
	tunnel.ip.service = congestion == ECN_CONGESTION ? ECN_CAPABLE : congestion;
	tunnel.ip.length = is_large ? LARGE : htons(length);
	tunnel.ip.identification = random();
	tunnel.ip.ttl = TTL;
	tunnel.ip.protocol = PROTOCOL_UDP;
	tunnel.ip.source = us->vtep;
	tunnel.ip.destination = peer->vtep;
	tunnel.ip.checksum = checksum(&tunnel.ip);
	tunnel.udp.source = htons(FIRST_SOURCE_PORT + flow_hash(packet) % SOURCE_PORTS);
	tunnel.udp.destination = us->udp_port;
	tunnel.udp.length = is_large ? LARGE : htons(length - sizeof(struct ipv4));
	tunnel.vxlan.flags = htonl(VXLAN_HAS_VNI);
	tunnel.vxlan.vni = htonl(own->vni << 8);
	u32 gate = here->gate;
	if (adjust_room(packet, sizeof(tunnel), BPF_ADJ_ROOM_MAC, room))
		return NEXT;
	if (store_bytes(packet, sizeof(struct ethernet), &tunnel, sizeof(tunnel), 0))
		return DROP;
	return redirect_peer(gate, 0);
}

/* A tunnelled frame out of a sandbox, at the gate's end in the host's namespace. */
SECTION("from_sandbox") int skein_leave(struct __sk_buff *packet)
{
	u32 zero = 0;
	struct frame *frame = head(packet, sizeof(*frame));
	struct host *us = lookup(&host, &zero);
	if (!frame || !us || !us->device || packet->protocol != htons(ETHERTYPE_IPV4) ||
	    frame->ip.source != us->vtep || frame->ip.protocol != PROTOCOL_UDP)
		return DROP;
	/* No way needs to be looked up to a neighbour. */
	struct bpf_redir_neigh neighbour = { .nh_family = AF_INET, .ipv4_nh = frame->ip.destination };
	if ((neighbour.ipv4_nh & us->mask) == us->network)
		return redirect_neigh(us->device, &neighbour, sizeof(neighbour), 0);
	return redirect_neigh(us->device, 0, 0, 0);
}

/* A packet for this host, at the underlay's link. */
SECTION("from_underlay") int skein_receive(struct __sk_buff *packet)
{
	u32 zero = 0;
	struct ethernet inner;

	if (packet->protocol != htons(ETHERTYPE_IPV4) || packet->pkt_type != PACKET_HOST || packet->vlan_present)
		return NEXT;
	struct host *us = lookup(&host, &zero);
	struct carried *carried = (void *)(long)packet->data;
	if (!us)
		return NEXT;
	/* First what costs nothing for packets that are not of a tunnel. */
	if ((void *)(&carried->tunnel.ip + 1) <= (void *)(long)packet->data_end &&
	    (carried->tunnel.ip.protocol != PROTOCOL_UDP || carried->tunnel.ip.destination != us->vtep))
		return NEXT;
	carried = head(packet, sizeof(*carried));
	if (!carried)
		return NEXT;
	struct ipv4 *outer = &carried->tunnel.ip;
	u32 length = packet->len - sizeof(struct ethernet);
	int is_large = length > MAXIMUM_IP_LENGTH && packet->gso_size;
	if (outer->version_and_length != VERSION_AND_LENGTH || (outer->fragment & htons(FRAGMENT)) ||
	    outer->protocol != PROTOCOL_UDP || outer->destination != us->vtep ||
	    (outer->service & ECN_MASK) == ECN_CONGESTION ||
	    ntohs(outer->length) != (is_large ? LARGE : length))
		return NEXT;
	if (carried->tunnel.udp.destination != us->udp_port || carried->tunnel.udp.checksum ||
	    carried->tunnel.vxlan.flags != htonl(VXLAN_HAS_VNI) || (carried->tunnel.vxlan.vni & htonl(0xff)))
		return NEXT;
	if (carried->tunnel.inner.type != htons(ETHERTYPE_IPV4) || !is_usual(&carried->inner))
		return NEXT;

	u32 vni = ntohl(carried->tunnel.vxlan.vni) >> 8;
	struct address to = { .vni = vni, .ip = carried->inner.destination };
	struct address from = { .vni = vni, .ip = carried->inner.source };
	struct endpoint *endpoint = lookup(&endpoints, &to);
	if (!endpoint || !same_mac(carried->tunnel.inner.destination, endpoint->mac))
		return NEXT;
	/* The sender is where the records say that it is. */
	struct peer *peer = lookup(&peers, &from);
	if (!peer || peer->vtep != outer->source || !same_mac(carried->tunnel.inner.source, peer->mac))
		return NEXT;

	inner = carried->tunnel.inner;
	u32 gate = endpoint->gate;
	if (adjust_room(packet, -(int)sizeof(struct tunnel), BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO))
		return NEXT;
	if (store_bytes(packet, 0, &inner, sizeof(inner), 0))
		return DROP;
	return redirect_peer(gate, 0);
}

/* A container's frame out of the tunnel, at the gate's end in the sandbox. */
SECTION("from_host") int skein_enter(struct __sk_buff *packet)
{
	struct frame *frame = head(packet, sizeof(*frame));
	if (!frame || packet->protocol != htons(ETHERTYPE_IPV4))
		return DROP;
	u32 destination = frame->ip.destination;
	struct resident *resident = lookup(&residents, &destination);
	if (!resident || !same_mac(frame->ethernet.destination, resident->mac))
		return DROP;
	change_type(packet, PACKET_HOST);
	return redirect_peer(resident->port, 0);
}

char terms[] SECTION("license") = "GPL";
