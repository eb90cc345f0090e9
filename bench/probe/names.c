/* The embedded DNS server at 127.0.0.11: its load, and what a name says while the cluster changes. */
#include "probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MESSAGE = 4096, MAXIMUM_ADDRESSES = 256, MAXIMUM_OUTSTANDING = 256, TYPE_A = 1 };
/* A query is given up and asked again after this. */
static const struct timeval patience = {0, 250000};
/* How often a waiting probe asks. */
static const double poll_ms = 20;
/* Nobody listens there (RFC 863, discard): the container answers with "port unreachable". */
enum { CLOSED_PORT = 9 };

static int resolver(void) {
  struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(53)};
  inet_pton(AF_INET, "127.0.0.11", &server.sin_addr);
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (connect(fd, (struct sockaddr *)&server, sizeof server) != 0) fail("connect to 127.0.0.11:");
  return fd;
}

/* RFC 1035, section 4: a query for the A records of a name. */
static size_t query(unsigned char *message, uint16_t id, const char *name) {
  unsigned char header[12] = {(unsigned char)(id >> 8), (unsigned char)id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0};
  memcpy(message, header, sizeof header);
  size_t at = sizeof header;
  while (*name != 0) {
    size_t length = strcspn(name, ".");
    if (length > 63 || at + length + 6 > 512) fail("the name is too long");
    message[at++] = (unsigned char)length;
    memcpy(message + at, name, length);
    at += length;
    name += length + (name[length] == '.');
  }
  unsigned char end[5] = {0, 0, TYPE_A, 0, 1};
  memcpy(message + at, end, sizeof end);
  return at + sizeof end;
}

static size_t skip_name(const unsigned char *message, size_t length, size_t at) {
  while (at < length && message[at] != 0) {
    if ((message[at] & 0xc0) == 0xc0) return at + 2;
    at += 1u + message[at];
  }
  return at + 1;
}

/* The addresses in an answer. */
static int addresses_in(const unsigned char *message, size_t length, struct in_addr *found) {
  if (length < 12 || (message[3] & 15) != 0) return 0;
  int answers = message[6] << 8 | message[7], count = 0;
  size_t at = skip_name(message, length, 12) + 4;
  for (int index = 0; index < answers; index++) {
    at = skip_name(message, length, at);
    if (at + 10 > length) break;
    int type = message[at] << 8 | message[at + 1];
    size_t size = (size_t)(message[at + 8] << 8 | message[at + 9]);
    at += 10;
    if (type == TYPE_A && size == 4 && at + 4 <= length && count < MAXIMUM_ADDRESSES) memcpy(&found[count++], message + at, 4);
    at += size;
  }
  return count;
}

/* Asks once. Returns the number of addresses; -1 when no answer came. */
static int ask(int fd, const char *name, struct in_addr *found) {
  static uint16_t id;
  unsigned char message[MESSAGE];
  size_t length = query(message, ++id, name);
  if (send(fd, message, length, 0) < 0) return -1;
  for (;;) {
    ssize_t got = recv(fd, message, sizeof message, 0);
    if (got < 0) return -1;
    if (got >= 12 && (message[0] << 8 | message[1]) == id) return addresses_in(message, (size_t)got, found);
  }
}

/* Keeps so many queries on the way; one alone measures the latency. */
int dns_load(int argc, char **argv) {
  (void)argc;
  static struct latencies latencies;
  static uint64_t sent_at[MAXIMUM_OUTSTANDING];
  const char *name = argv[0];
  int outstanding = atoi(argv[2]), fd = resolver();
  if (outstanding < 1 || outstanding > MAXIMUM_OUTSTANDING) fail("OUTSTANDING is 1 to 256");
  cost_of(atoi(argv[3]), 0);
  unsigned char message[MESSAGE];
  struct in_addr found[MAXIMUM_ADDRESSES];
  uint64_t answered = 0, empty = 0, lost = 0, begin = monotonic_ns(), end = begin + (uint64_t)(atof(argv[1]) * 1e9);
  for (int index = 0; index < outstanding; index++) {
    sent_at[index] = monotonic_ns();
    send(fd, message, query(message, (uint16_t)index, name), 0);
  }
  while (monotonic_ns() < end) {
    ssize_t got = recv(fd, message, sizeof message, 0);
    int id = got >= 12 ? message[0] << 8 | message[1] : -1;
    if (id >= 0 && id < outstanding) {
      latency_add(&latencies, monotonic_ns() - sent_at[id]);
      answered++;
      if (addresses_in(message, (size_t)got, found) == 0) empty++;
      sent_at[id] = monotonic_ns();
      send(fd, message, query(message, (uint16_t)id, name), 0);
    } else if (got < 0) {
      for (int index = 0; index < outstanding; index++, lost++) {
        sent_at[index] = monotonic_ns();
        send(fd, message, query(message, (uint16_t)index, name), 0);
      }
    }
  }
  double taken = (double)(monotonic_ns() - begin) / 1e9;
  printf("{\"count\":%llu,\"seconds\":%.6f,\"empty\":%llu,\"lost\":%llu,\"p50Us\":%.3f,\"p99Us\":%.3f}\n",
         (unsigned long long)answered, taken, (unsigned long long)empty, (unsigned long long)lost,
         latency_at(&latencies, 0.5), latency_at(&latencies, 0.99));
  return 0;
}

/* True once the address answers: a refused datagram is an answer of the other end. */
static int reaches(struct in_addr address, uint64_t deadline) {
  struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons(CLOSED_PORT), .sin_addr = address};
  struct timeval wait = {0, 20000};
  int fd = socket(AF_INET, SOCK_DGRAM, 0), reached = 0;
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
  if (connect(fd, (struct sockaddr *)&peer, sizeof peer) != 0) fail("connect:");
  while (!reached && monotonic_ns() < deadline) {
    char byte = 'x';
    if (send(fd, &byte, 1, 0) < 0) {
      reached = errno == ECONNREFUSED;
      if (!reached) sleep_ms(poll_ms);
    } else {
      reached = recv(fd, &byte, 1, 0) >= 0 || errno == ECONNREFUSED;
    }
  }
  close(fd);
  return reached;
}

static uint64_t deadline_in(const char *seconds) { return monotonic_ns() + (uint64_t)(atof(seconds) * 1e9); }

/* Waits until the name resolves and what it says can be reached. */
int wait_until_usable(int argc, char **argv) {
  (void)argc;
  struct in_addr found[MAXIMUM_ADDRESSES];
  uint64_t deadline = deadline_in(argv[1]);
  printf("ready\n");
  fflush(stdout);
  for (int fd = resolver(); monotonic_ns() < deadline; sleep_ms(poll_ms)) {
    if (ask(fd, argv[0], found) <= 0) continue;
    double resolved = wall_ms();
    if (!reaches(found[0], deadline)) fail("the address is known and not reached in time");
    printf("{\"address\":\"%s\",\"resolvedMs\":%.3f,\"reachedMs\":%.3f}\n", inet_ntoa(found[0]), resolved, wall_ms());
    return 0;
  }
  fail("the name is not known in time");
}

/* Waits until the name no longer stands for the address. */
int wait_until_gone(int argc, char **argv) {
  (void)argc;
  struct in_addr found[MAXIMUM_ADDRESSES], unwanted;
  inet_pton(AF_INET, argv[1], &unwanted);
  uint64_t deadline = deadline_in(argv[2]);
  printf("ready\n");
  fflush(stdout);
  for (int fd = resolver(); monotonic_ns() < deadline; sleep_ms(poll_ms)) {
    int count = ask(fd, argv[0], found), seen = count < 0;
    for (int index = 0; index < count; index++) seen |= found[index].s_addr == unwanted.s_addr;
    if (seen) continue;
    printf("{\"goneMs\":%.3f}\n", wall_ms());
    return 0;
  }
  fail("the name stands for the address still");
}

/* Watches how many addresses a name has: how often one or more of them went. */
int watch_name(int argc, char **argv) {
  (void)argc;
  struct in_addr found[MAXIMUM_ADDRESSES];
  int most = 0, least = MAXIMUM_ADDRESSES, last = 0, losses = 0, silent = 0;
  uint64_t deadline = deadline_in(argv[1]);
  printf("ready\n");
  fflush(stdout);
  for (int fd = resolver(); monotonic_ns() < deadline; sleep_ms(poll_ms)) {
    int count = ask(fd, argv[0], found);
    if (count < 0) {
      silent++;
      continue;
    }
    if (count > most) most = count;
    if (count < least) least = count;
    if (count < last) losses++;
    last = count;
  }
  printf("{\"most\":%d,\"least\":%d,\"losses\":%d,\"silent\":%d}\n", most, least, losses, silent);
  return 0;
}
