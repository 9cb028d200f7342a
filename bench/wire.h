/* What the load generator and the C relay have in common: growing buffers, WebSocket frame headers, the clock. */
#ifndef WIRE_H
#define WIRE_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { OP_TEXT = 1, OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };

typedef struct {
    uint8_t *data;
    size_t len, cap;
} Buffer;

static inline void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, errno ? strerror(errno) : "unexpected");
    exit(2);
}

static inline void reserve(Buffer *b, size_t more) {
    if (b->len + more <= b->cap) return;
    size_t cap = b->cap ? b->cap : 512;
    while (cap < b->len + more) cap *= 2;
    b->data = realloc(b->data, cap);
    if (!b->data) fail("realloc");
    b->cap = cap;
}

static inline void append(Buffer *b, const void *data, size_t len) {
    reserve(b, len);
    memcpy(b->data + b->len, data, len);
    b->len += len;
}

static inline void consume(Buffer *b, size_t len) {
    b->len -= len;
    if (b->len) memmove(b->data, b->data + len, b->len);
}

static inline int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* Send what the socket takes now and leave the rest in the buffer. False where the peer is gone. */
static inline bool flush(int fd, Buffer *b) {
    while (b->len) {
        ssize_t n = send(fd, b->data, b->len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0) return errno == EAGAIN;
        consume(b, (size_t)n);
    }
    return true;
}

/* Write the header of a frame (RFC 6455, 5.2; masked with zeros if asked) and return its length, 14 at most. */
static inline size_t frame_header(uint8_t *h, int opcode, size_t len, bool masked) {
    uint8_t mask = masked ? 0x80 : 0;
    size_t n = 2;
    h[0] = 0x80 | opcode;
    if (len < 126) {
        h[1] = mask | (uint8_t)len;
    } else if (len < 65536) {
        h[1] = mask | 126;
        h[2] = len >> 8;
        h[3] = len & 255;
        n = 4;
    } else {
        h[1] = mask | 127;
        for (int i = 0; i < 8; i++) h[2 + i] = (uint8_t)((uint64_t)len >> (56 - 8 * i));
        n = 10;
    }
    if (masked) {
        memset(h + n, 0, 4);
        n += 4;
    }
    return n;
}

typedef struct {
    int opcode;
    uint8_t *payload; /* unmasked in place */
    size_t len;
} Frame;

/* Take the first whole frame of `data` and return how many bytes it was; 0 if its end has not come yet. */
static inline size_t read_frame(uint8_t *data, size_t len, Frame *frame) {
    if (len < 2) return 0;
    bool masked = data[1] & 0x80;
    uint64_t size = data[1] & 127;
    size_t head = 2;
    if (size == 126) {
        if (len < 4) return 0;
        size = (uint64_t)data[2] << 8 | data[3];
        head = 4;
    } else if (size == 127) {
        if (len < 10) return 0;
        size = 0;
        for (int i = 0; i < 8; i++) size = size << 8 | data[2 + i];
        head = 10;
    }
    size_t mask_at = head;
    if (masked) head += 4;
    if (len < head + size) return 0;
    frame->opcode = data[0] & 15;
    frame->payload = data + head;
    frame->len = size;
    if (masked)
        for (size_t i = 0; i < size; i++) frame->payload[i] ^= data[mask_at + (i & 3)];
    return head + size;
}

static inline void no_delay(int fd) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static inline void all_files(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    signal(SIGPIPE, SIG_IGN);
}

#endif
