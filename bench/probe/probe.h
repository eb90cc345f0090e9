/* What the probe's parts share: time, CPU cost, latencies, and the words of its command line. */
#ifndef PROBE_H
#define PROBE_H

#include <stdint.h>

/* Ports of `probe server`, as the clients call them. */
enum { ECHO_PORT = 15001, CLOSING_PORT = 15002, SINK_PORT = 15003 };

/* Latencies in buckets of 1/16 of a power of two of nanoseconds: 4 to 6 % wide, whatever the magnitude. */
enum { BUCKETS = 64 * 16 };
struct latencies {
  uint64_t counts[BUCKETS];
  uint64_t total;
};
void latency_add(struct latencies *latencies, uint64_t ns);
/* The latency that `share` of them do not exceed, in microseconds. */
double latency_at(const struct latencies *latencies, double share);

uint64_t monotonic_ns(void);
/* Milliseconds since 1970: comparable between processes of one machine. */
double wall_ms(void);
void sleep_ms(double ms);

/* CPU time of the client, of the server and of the softirq thread of the CPU that both are pinned to. */
struct cost {
  int cpu;
  long server;
};
/* Pins this process; cpu < 0 leaves it free, and its cost is that of client and server only. */
struct cost cost_of(int cpu, long server_pid);
uint64_t cost_ns(const struct cost *cost);

/* Ends the process with a message: errno's text where `what` ends in a colon. */
__attribute__((noreturn)) void fail(const char *what);

int serve(int argc, char **argv);
int request_response(int argc, char **argv);
int connect_request_response(int argc, char **argv);
int udp_request_response(int argc, char **argv);
int stream(int argc, char **argv);
int dns_load(int argc, char **argv);
int wait_until_usable(int argc, char **argv);
int wait_until_gone(int argc, char **argv);
int watch_name(int argc, char **argv);

#endif
