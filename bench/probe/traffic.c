/* TCP and UDP between two namespaces: netperf's TCP_RR, TCP_CRR and UDP_RR with 1 byte each way, and a TCP stream. */
#include "probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* As iperf3's default. */
enum { STREAM_BUFFER = 128 * 1024 };
static const double warm_up_seconds = 0.1;
/* A datagram that is lost is sent again after this. */
static const struct timeval udp_patience = {0, 200000};
/* A peer that says nothing for so long is a failure. */
static const struct timeval tcp_patience = {5, 0};
static char buffer[STREAM_BUFFER];

static struct sockaddr_in address_of(const char *text, int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  if (inet_pton(AF_INET, text, &address.sin_addr) != 1) fail("not an IPv4 address");
  return address;
}

/* The default here may be bbr, which paces: a timer's cost would hide the path's. */
static int tcp_socket(void) {
  int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  if (fd < 0) fail("socket:");
  if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5) != 0) fail("TCP_CONGESTION cubic:");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tcp_patience, sizeof tcp_patience);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tcp_patience, sizeof tcp_patience);
  return fd;
}

static int tcp_connect(const struct sockaddr_in *address) {
  int fd = tcp_socket();
  if (connect(fd, (const struct sockaddr *)address, sizeof *address) != 0) fail("connect:");
  return fd;
}

static int bound(int fd, int port) {
  struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  int one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd, (struct sockaddr *)&any, sizeof any) != 0) fail("bind:");
  return fd;
}

static int listening(int port) {
  int fd = bound(tcp_socket(), port);
  if (listen(fd, 128) != 0) fail("listen:");
  return fd;
}

static void serve_echo(int fd) {
  char byte;
  while (recv(fd, &byte, 1, 0) == 1 && send(fd, &byte, 1, 0) == 1) continue;
}

/* Takes all there is, then says how much it was. */
static void serve_sink(int fd) {
  uint64_t total = 0;
  for (ssize_t got; (got = recv(fd, buffer, sizeof buffer, 0)) > 0;) total += (uint64_t)got;
  if (send(fd, &total, sizeof total, 0) != sizeof total) perror("probe: answer of the sink");
}

/* One client at a time, by blocking calls, as netperf's server: poll only waits for the next one. */
int serve(int argc, char **argv) {
  (void)argc;
  signal(SIGPIPE, SIG_IGN);
  cost_of(atoi(argv[0]), 0);
  int udp = bound(socket(AF_INET, SOCK_DGRAM, 0), ECHO_PORT);
  setsockopt(udp, SOL_SOCKET, SO_RCVTIMEO, &udp_patience, sizeof udp_patience);
  struct pollfd waiting[] = {
      {listening(ECHO_PORT), POLLIN, 0},
      {listening(CLOSING_PORT), POLLIN, 0},
      {listening(SINK_PORT), POLLIN, 0},
      {udp, POLLIN, 0},
  };
  printf("ready\n");
  fflush(stdout);
  for (;;) {
    if (poll(waiting, 4, -1) < 0) fail("poll:");
    for (int index = 0; index < 3; index++) {
      if (waiting[index].revents == 0) continue;
      int fd = accept(waiting[index].fd, NULL, NULL);
      if (fd < 0) continue;
      char byte;
      if (index == 0) serve_echo(fd);
      if (index == 1 && recv(fd, &byte, 1, 0) == 1 && send(fd, &byte, 1, 0) != 1) perror("probe: answer");
      if (index == 2) serve_sink(fd);
      close(fd);
    }
    if (waiting[3].revents == 0) continue;
    struct sockaddr_in from;
    socklen_t length = sizeof from;
    for (char byte; recvfrom(udp, &byte, 1, 0, (struct sockaddr *)&from, &length) >= 0; length = sizeof from)
      sendto(udp, &byte, 1, 0, (struct sockaddr *)&from, length);
  }
}

/* What a transaction needs. */
struct client {
  struct sockaddr_in address;
  int fd;
  uint64_t lost;
};

static void exchange(struct client *client) {
  char byte = 'x';
  if (send(client->fd, &byte, 1, 0) != 1 || recv(client->fd, &byte, 1, 0) != 1) fail("exchange:");
}

/* The server closes first, so that the client's port is free again and TIME_WAIT stays with the server. */
static void connect_exchange(struct client *client) {
  char byte;
  client->fd = tcp_connect(&client->address);
  exchange(client);
  if (recv(client->fd, &byte, 1, 0) != 0) fail("the server did not close");
  close(client->fd);
}

static void udp_exchange(struct client *client) {
  char byte = 'x';
  for (int tries = 0; tries < 25; tries++) {
    if (send(client->fd, &byte, 1, 0) == 1 && recv(client->fd, &byte, 1, 0) == 1) return;
    client->lost++;
  }
  fail("no answer by UDP");
}

/* Repeats a transaction for a time and prints rate, CPU cost of one and latency. */
static int measure(struct client *client, void (*transact)(struct client *), char **argv) {
  static struct latencies latencies;
  double seconds = atof(argv[1]);
  struct cost cost = cost_of(atoi(argv[2]), atol(argv[3]));
  for (uint64_t end = monotonic_ns() + (uint64_t)(warm_up_seconds * 1e9); monotonic_ns() < end;) transact(client);
  client->lost = 0;
  uint64_t count = 0, begin = monotonic_ns(), before = begin, end = begin + (uint64_t)(seconds * 1e9);
  uint64_t cpu = cost_ns(&cost);
  while (before < end) {
    transact(client);
    uint64_t now = monotonic_ns();
    latency_add(&latencies, now - before);
    before = now;
    count++;
  }
  cpu = cost_ns(&cost) - cpu;
  double taken = (double)(before - begin) / 1e9;
  printf("{\"count\":%llu,\"seconds\":%.6f,\"cpuNs\":%llu,\"p50Us\":%.3f,\"p99Us\":%.3f,\"lost\":%llu}\n",
         (unsigned long long)count, taken, (unsigned long long)cpu, latency_at(&latencies, 0.5),
         latency_at(&latencies, 0.99), (unsigned long long)client->lost);
  return 0;
}

int request_response(int argc, char **argv) {
  (void)argc;
  struct client client = {.address = address_of(argv[0], ECHO_PORT)};
  client.fd = tcp_connect(&client.address);
  return measure(&client, exchange, argv);
}

int connect_request_response(int argc, char **argv) {
  (void)argc;
  struct client client = {.address = address_of(argv[0], CLOSING_PORT)};
  return measure(&client, connect_exchange, argv);
}

int udp_request_response(int argc, char **argv) {
  (void)argc;
  struct client client = {.address = address_of(argv[0], ECHO_PORT), .fd = socket(AF_INET, SOCK_DGRAM, 0)};
  setsockopt(client.fd, SOL_SOCKET, SO_RCVTIMEO, &udp_patience, sizeof udp_patience);
  if (connect(client.fd, (struct sockaddr *)&client.address, sizeof client.address) != 0) fail("connect:");
  return measure(&client, udp_exchange, argv);
}

static void send_until(int fd, uint64_t end) {
  while (monotonic_ns() < end)
    if (send(fd, buffer, sizeof buffer, 0) < 0) fail("send:");
}

static struct tcp_info state_of(int fd) {
  struct tcp_info info = {0};
  socklen_t length = sizeof info;
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) fail("TCP_INFO:");
  return info;
}

/* Sends until the time is over; counts what the server's kernel has acknowledged after the warm-up. */
int stream(int argc, char **argv) {
  (void)argc;
  struct sockaddr_in address = address_of(argv[0], SINK_PORT);
  struct cost cost = cost_of(atoi(argv[2]), atol(argv[3]));
  int fd = tcp_connect(&address);
  send_until(fd, monotonic_ns() + (uint64_t)(warm_up_seconds * 1e9));
  uint64_t begin = monotonic_ns(), cpu = cost_ns(&cost), bytes = state_of(fd).tcpi_bytes_acked, total = 0;
  send_until(fd, begin + (uint64_t)(atof(argv[1]) * 1e9));
  struct tcp_info state = state_of(fd);
  cpu = cost_ns(&cost) - cpu;
  double taken = (double)(monotonic_ns() - begin) / 1e9;
  bytes = state.tcpi_bytes_acked - bytes;
  shutdown(fd, SHUT_WR);
  if (recv(fd, &total, sizeof total, MSG_WAITALL) != sizeof total) fail("no answer of the sink:");
  if (total < bytes) fail("the sink got less than was acknowledged");
  printf("{\"bytes\":%llu,\"seconds\":%.6f,\"cpuNs\":%llu,\"retransmits\":%u}\n", (unsigned long long)bytes, taken,
         (unsigned long long)cpu, state.tcpi_total_retrans);
  return 0;
}
