/* probe: the bench's measuring tool. It runs by nsenter in the network namespace that it measures; see ../README.md. */
#define _GNU_SOURCE
#include "probe.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const struct {
  const char *word;
  int (*run)(int argc, char **argv);
  int arguments;
  const char *usage;
} commands[] = {
    {"server", serve, 1, "CPU"},
    {"rr", request_response, 4, "ADDRESS SECONDS CPU SERVER_PID"},
    {"crr", connect_request_response, 4, "ADDRESS SECONDS CPU SERVER_PID"},
    {"udp-rr", udp_request_response, 4, "ADDRESS SECONDS CPU SERVER_PID"},
    {"stream", stream, 4, "ADDRESS SECONDS CPU SERVER_PID"},
    {"dns", dns_load, 4, "NAME SECONDS OUTSTANDING CPU"},
    {"usable", wait_until_usable, 2, "NAME SECONDS"},
    {"gone", wait_until_gone, 3, "NAME ADDRESS SECONDS"},
    {"watch", watch_name, 2, "NAME SECONDS"},
};

void fail(const char *what) {
  size_t length = strlen(what);
  if (length > 0 && what[length - 1] == ':')
    fprintf(stderr, "probe: %s %s\n", what, strerror(errno));
  else
    fprintf(stderr, "probe: %s\n", what);
  exit(1);
}

uint64_t monotonic_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

double wall_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

void sleep_ms(double ms) {
  struct timespec span = {(time_t)(ms / 1e3), (long)((ms - 1e3 * (double)(time_t)(ms / 1e3)) * 1e6)};
  nanosleep(&span, NULL);
}

void latency_add(struct latencies *latencies, uint64_t ns) {
  int power = ns < 16 ? 4 : 63 - __builtin_clzll(ns);
  int bucket = power * 16 + (int)((ns >> (power - 4)) & 15);
  latencies->counts[bucket]++;
  latencies->total++;
}

double latency_at(const struct latencies *latencies, double share) {
  uint64_t wanted = (uint64_t)((double)latencies->total * share), seen = 0;
  for (int bucket = 0; bucket < BUCKETS; bucket++) {
    seen += latencies->counts[bucket];
    if (seen > wanted) {
      int power = bucket / 16;
      return ((double)(1ull << power) * (1 + (bucket % 16 + 0.5) / 16.0)) / 1e3;
    }
  }
  return 0;
}

/* Nanoseconds that a process has run, from /proc/PID/schedstat; 0 when it has gone. */
static uint64_t run_time(long pid) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%ld/schedstat", pid);
  FILE *file = fopen(path, "r");
  if (file == NULL) return 0;
  unsigned long long ns = 0;
  if (fscanf(file, "%llu", &ns) != 1) ns = 0;
  fclose(file);
  return ns;
}

/* The softirq thread of a CPU: kernel threads are children of 2 and were made at boot, so their pids are low. */
static long softirq_thread(int cpu) {
  char wanted[32], path[64], name[32];
  snprintf(wanted, sizeof wanted, "ksoftirqd/%d\n", cpu);
  for (long pid = 1; pid < 4096; pid++) {
    snprintf(path, sizeof path, "/proc/%ld/comm", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL) continue;
    int found = fgets(name, sizeof name, file) != NULL && strcmp(name, wanted) == 0;
    fclose(file);
    if (found) return pid;
  }
  return 0;
}

static long softirqs;

struct cost cost_of(int cpu, long server_pid) {
  struct cost cost = {cpu, server_pid};
  if (cpu >= 0) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) fail("sched_setaffinity:");
    softirqs = softirq_thread(cpu);
  }
  return cost;
}

uint64_t cost_ns(const struct cost *cost) {
  uint64_t sum = run_time(getpid());
  if (cost->server > 0) sum += run_time(cost->server);
  if (cost->cpu >= 0 && softirqs > 0) sum += run_time(softirqs);
  return sum;
}

int main(int argc, char **argv) {
  for (size_t index = 0; index < sizeof commands / sizeof commands[0]; index++) {
    if (argc < 2 || strcmp(argv[1], commands[index].word) != 0) continue;
    if (argc - 2 != commands[index].arguments) {
      fprintf(stderr, "usage: probe %s %s\n", commands[index].word, commands[index].usage);
      return 2;
    }
    return commands[index].run(argc - 2, argv + 2);
  }
  for (size_t index = 0; index < sizeof commands / sizeof commands[0]; index++)
    fprintf(stderr, "usage: probe %s %s\n", commands[index].word, commands[index].usage);
  return 2;
}
