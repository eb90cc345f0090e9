/*
 * Virtual IPs at connect time: what a process of the cgroup connects to a virtual IP is connected to one of the service's
 * tasks instead, so that no packet has to be translated. What is not in the maps goes on as it is, to the container's nft
 * table. Who asks for the connection's other end is told the virtual IP, as he would be with nft.
 *
 * Addresses are of IPv6, those of IPv4 mapped (RFC 4291 section 2.5.5.2), in network order.
 */
#include <linux/bpf.h>

typedef __u32 u32;
typedef __u64 u64;

#define SECTION(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))

/* Verdict of programs on cgroups. */
#define ALLOW 1
/* linux/in.h */
#define PROTOCOL_TCP 6
#define IPV4_MAPPED __builtin_bswap32(0xffff)

struct address {
	u32 words[4];
};

/* Maps; records.ts writes them. */

struct service_key {
	/* Cookie of the network namespace. */
	u64 space;
	struct address virtual_ip;
};

struct service {
	/* How many tasks there are, and whose turn it is, modulo that. */
	u32 tasks;
	u32 turn;
};

struct task_key {
	struct service_key service;
	u64 index;
};

/* Of a socket, by its cookie. */
struct connection {
	struct service_key to;
	struct address task;
};

struct map {
	u32 type, key_size, value_size, max_entries, map_flags;
};

#define HASH(key, value, size) SECTION("maps") = {BPF_MAP_TYPE_HASH, sizeof(key), sizeof(value), size, BPF_F_NO_PREALLOC}

struct map services HASH(struct service_key, struct service, 1 << 17);
struct map tasks HASH(struct task_key, struct address, 1 << 18);
struct map connections HASH(u64, struct connection, 1 << 17);

static void *(*map_lookup)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static long (*map_update)(void *map, const void *key, const void *value, u64 flags) = (void *)BPF_FUNC_map_update_elem;
static long (*map_delete)(void *map, const void *key) = (void *)BPF_FUNC_map_delete_elem;
static u64 (*socket_cookie)(void *context) = (void *)BPF_FUNC_get_socket_cookie;
static u64 (*namespace_cookie)(void *context) = (void *)BPF_FUNC_get_netns_cookie;

/* Returns the task whose turn it is, having noted the connection; NULL when the address is to stay as it is. */
INLINE struct address *choose(struct bpf_sock_addr *context, struct connection *connection)
{
	struct task_key key = {.service = connection->to};
	struct service *service;
	struct address *task;
	u64 cookie;

	key.service.space = namespace_cookie(context);
	service = map_lookup(&services, &key.service);
	if (!service || service->tasks == 0)
		return 0;
	key.index = __sync_fetch_and_add(&service->turn, 1) % service->tasks;
	task = map_lookup(&tasks, &key);
	if (!task)
		return 0;
	connection->to.space = key.service.space;
	connection->task = *task;
	cookie = socket_cookie(context);
	return map_update(&connections, &cookie, connection, BPF_ANY) == 0 ? task : 0;
}

SECTION("connect4") int skein_connect4(struct bpf_sock_addr *context)
{
	struct connection connection = {.to.virtual_ip.words = {0, 0, IPV4_MAPPED, context->user_ip4}};
	struct address *task;

	if (context->protocol != PROTOCOL_TCP)
		return ALLOW;
	task = choose(context, &connection);
	if (task)
		context->user_ip4 = task->words[3];
	return ALLOW;
}

SECTION("connect6") int skein_connect6(struct bpf_sock_addr *context)
{
	struct connection connection = {.to.virtual_ip.words = {context->user_ip6[0], context->user_ip6[1],
								context->user_ip6[2], context->user_ip6[3]}};
	struct address *task;

	if (context->protocol != PROTOCOL_TCP)
		return ALLOW;
	task = choose(context, &connection);
	if (!task)
		return ALLOW;
	context->user_ip6[0] = task->words[0];
	context->user_ip6[1] = task->words[1];
	context->user_ip6[2] = task->words[2];
	context->user_ip6[3] = task->words[3];
	return ALLOW;
}

SECTION("peername4") int skein_peer4(struct bpf_sock_addr *context)
{
	u64 cookie = socket_cookie(context);
	struct connection *connection = map_lookup(&connections, &cookie);

	if (connection && connection->task.words[3] == context->user_ip4)
		context->user_ip4 = connection->to.virtual_ip.words[3];
	return ALLOW;
}

SECTION("peername6") int skein_peer6(struct bpf_sock_addr *context)
{
	u64 cookie = socket_cookie(context);
	struct connection *connection = map_lookup(&connections, &cookie);

	if (!connection || connection->task.words[3] != context->user_ip6[3] ||
	    connection->task.words[2] != context->user_ip6[2] || connection->task.words[1] != context->user_ip6[1] ||
	    connection->task.words[0] != context->user_ip6[0])
		return ALLOW;
	context->user_ip6[0] = connection->to.virtual_ip.words[0];
	context->user_ip6[1] = connection->to.virtual_ip.words[1];
	context->user_ip6[2] = connection->to.virtual_ip.words[2];
	context->user_ip6[3] = connection->to.virtual_ip.words[3];
	return ALLOW;
}

SECTION("release") int skein_release(struct bpf_sock *context)
{
	u64 cookie = socket_cookie(context);

	map_delete(&connections, &cookie);
	return ALLOW;
}

char terms[] SECTION("license") = "GPL";
