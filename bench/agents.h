/* The load generator as agents of a fleet: how one registers, which job it was given, and how it says what it writes.
 * The protocol is that of `legato.fleet.protocol`, second generation.
 */
#ifndef AGENTS_H
#define AGENTS_H

#include "wire.h"

enum { MAX_JOB_ID = 64 };

typedef struct {
    char id[MAX_JOB_ID];
    int agent; /* which has it */
    int64_t next; /* the offset of its next event */
} Lease;

static inline void masked_frame(Buffer *out, const char *text, size_t len) {
    uint8_t head[14];
    append(out, head, frame_header(head, OP_TEXT, len, true));
    append(out, text, len);
}

static inline void upgrade_agent(Buffer *out, int port) {
    char request[300];
    append(out, request,
           sprintf(request,
                   "GET /ws/agents?key=bench HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\n"
                   "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
                   port));
}

static inline void register_agent(Buffer *out, int number, int slots) {
    char text[300];
    masked_frame(out, text,
                 sprintf(text,
                         "{\"type\":\"register\",\"protocol\":2,\"slots\":%d,\"name\":\"bench-%d\",\"instance\":\"bench-%d\","
                         "\"models\":[\"m\"],\"facts\":[{\"name\":\"m\",\"can\":{\"continues\":true}}]}",
                         slots, number, number));
}

static inline bool frame_has(const Frame *f, const char *text) { return memmem(f->payload, f->len, text, strlen(text)); }

/* The number in "job N" of a job's text, and its id; -1 where the frame is no job. */
static inline int job_in(const Frame *f, char *id) {
    char *named = memmem(f->payload, f->len, "\"jobId\":\"", 9), *text = memmem(f->payload, f->len, "\"job ", 5);
    if (!frame_has(f, "{\"type\":\"job\"") || !named || !text) return -1;
    size_t len = 0;
    for (named += 9; named[len] != '"' && len < MAX_JOB_ID - 1; len++) id[len] = named[len];
    id[len] = 0;
    return atoi(text + 5);
}

/* One event of a job, in a frame of its own. */
static inline void write_event(Buffer *out, Lease *lease, const char *event) {
    char text[4800];
    masked_frame(out, text,
                 snprintf(text, sizeof text, "{\"type\":\"events\",\"jobId\":\"%s\",\"attempt\":1,\"from\":%lld,\"events\":[%s]}",
                          lease->id, (long long)lease->next++, event));
}

#endif
