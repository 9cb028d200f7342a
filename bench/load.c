/* The load generator: it is the engine that makes the tokens and every client that sees them, so one clock times both.
 *
 *     load --server PORT --feed PORT --clients FILE --pid PID [--streams N] [--viewers N] [--rate N | --window N] …
 *
 * 1. It opens one WebSocket a viewer. FILE has a line for each: the path, one more request header, and the first
 *    message, with tabs between them. Viewer v watches stream v % streams. `$CONVERSATION` in a message stands for the
 *    conversation that the server named to viewer 0. A viewer is open when its message was answered by an `ack` or `following`
 *    (or by nothing, where the message is empty, but then `welcome`).
 * 2. It waits until the server has asked for every stream, each by one line `{"job":N}` on any of the feeds.
 * 3. It feeds lines `{"job":N,"token":"…~SEQ:NANOSECONDS~"}` at a rate, or with a window of tokens under way, and looks
 *    for those marks in whatever the viewers get: numbers must come in order, each once, and the age of a mark is the
 *    latency. What is measured begins after the warm-up.
 * 4. It ends every stream (`{"job":N,"type":"finished"}`) and waits until every viewer was told; not with --finish 0.
 *
 * With --agents 1 the feeds are agents of a fleet: each is a WebSocket at the server's /ws/agents, and a token an event of
 * the job that it was given.
 *
 * With --hold it stops after 1, says so, and keeps the sockets open until its standard input ends.
 * The result is one JSON object on standard output.
 */
#include "agents.h"

enum { READ_SIZE = 1 << 18, AT_ONCE = 32, MAX_FEEDS = 256 };
enum { VIEWER, FEED };
enum { UPGRADING, ASKED, OPEN };

typedef struct {
    int kind, fd, state;
    int64_t expected; /* the number of the next token */
    bool finished;
    Buffer in, out;
} Connection;

static struct {
    const char *clients, *subprotocol;
    int server, feed, streams, viewers, feeds, window, pad, pid;
    double rate, warm, seconds;
    bool hold, finish, agents;
} options = {.finish = true, .subprotocol = "legato.v1", .streams = 1, .feeds = 4, .window = 1000, .pad = 40, .warm = 1, .seconds = 4};

static Connection *viewers, feeds[MAX_FEEDS];
static Lease *leases;
static char **openings, conversation[80], padding[4096];
static int ep, opened, open_count, jobs_wanted, finished_count;
static int64_t *next_number, sent, delivered, frames, wrong;

/* What is measured lies between these two moments. */
static int64_t from_ns = INT64_MAX, to_ns = INT64_MAX;
static uint32_t *latencies; /* in tens of nanoseconds */
static size_t latency_count, latency_room;

typedef struct {
    int64_t at, sent, delivered, frames;
    double server_cpu, own_cpu;
} Reading;

/* ---- viewers ---- */

static void command(Connection *c, const char *text) {
    uint8_t head[14];
    size_t len = strlen(text);
    append(&c->out, head, frame_header(head, OP_TEXT, len, true));
    append(&c->out, text, len);
    if (!flush(c->fd, &c->out)) fail("send a command");
}

static void add(Connection *c) {
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e) < 0) fail("epoll_ctl");
}

static int connect_to(int port) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (void *)&a, sizeof a) < 0) fail("connect");
    no_delay(fd);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static void open_viewer(int v) {
    Connection *c = &viewers[v];
    char request[4096], *path = openings[v], *header = strchr(path, '\t');
    if (!header) fail("a line of --clients without a tab");
    *header++ = 0;
    char *message = strchr(header, '\t');
    if (!message) fail("a line of --clients with one tab only");
    *message++ = 0;
    openings[v] = message;
    c->kind = VIEWER;
    c->state = UPGRADING;
    c->fd = connect_to(options.server);
    int len = snprintf(request, sizeof request,
                       "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                       "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                       "Sec-WebSocket-Protocol: %s\r\n%s%s\r\n",
                       path, options.server, options.subprotocol, header, *header ? "\r\n" : "");
    append(&c->out, request, len);
    if (!flush(c->fd, &c->out)) fail("send the handshake");
    add(c);
    opened++;
}

static void ask(Connection *c) {
    char *message = openings[c - viewers], *hole = strstr(message, "$CONVERSATION"), text[4096];
    if (hole) {
        snprintf(text, sizeof text, "%.*s%s%s", (int)(hole - message), message, conversation, hole + 13);
        message = text;
    }
    c->state = ASKED;
    if (*message) command(c, message);
}

/* Count the marks ~NUMBER:NANOSECONDS~ of one frame. */
static void scan(Connection *c, const uint8_t *p, const uint8_t *end, int64_t now) {
    int64_t found = 0;
    while ((p = memchr(p, '~', end - p))) {
        int64_t number = 0, stamp = 0;
        for (p++; p < end && *p >= '0' && *p <= '9'; p++) number = number * 10 + *p - '0';
        if (p == end || *p != ':') continue;
        for (p++; p < end && *p >= '0' && *p <= '9'; p++) stamp = stamp * 10 + *p - '0';
        if (p == end || *p != '~') continue;
        p++;
        found++;
        if (number != c->expected) wrong++;
        c->expected = number + 1;
        if (stamp >= from_ns && stamp < to_ns && latency_count < latency_room)
            latencies[latency_count++] = (uint32_t)((now - stamp) / 10);
    }
    delivered += found;
    frames += found > 0;
}

static bool starts(const Frame *f, const char *text) {
    size_t len = strlen(text);
    return f->len >= len && !memcmp(f->payload, text, len);
}

static bool contains(const Frame *f, const char *text) { return memmem(f->payload, f->len, text, strlen(text)); }

static void told(Connection *c, const Frame *f) {
    bool message = openings[c - viewers][0];
    if (c->state == ASKED &&
        (message ? contains(f, "\"type\":\"ack\"") || contains(f, "\"type\":\"following\"") : contains(f, "\"welcome\""))) {
        char *at = memmem(f->payload, f->len, "\"conversation\":\"", 16);
        if (c == viewers && at) sscanf(at + 16, "%79[^\"]", conversation);
        c->state = OPEN;
        open_count++;
    } else if (starts(f, "{\"type\":\"error\"")) {
        fprintf(stderr, "viewer %td was refused: %.*s\n", c - viewers, (int)f->len, f->payload);
        exit(3);
    }
}

static void answer(Connection *c, const Frame *ping) {
    uint8_t head[14];
    append(&c->out, head, frame_header(head, OP_PONG, ping->len, true));
    append(&c->out, ping->payload, ping->len);
    flush(c->fd, &c->out);
}

static void understand(Connection *c, const Frame *f, int64_t now) {
    if (f->opcode == OP_PING) {
        answer(c, f);
    } else if (f->opcode == OP_CLOSE) {
        int code = f->len >= 2 ? f->payload[0] << 8 | f->payload[1] : 0;
        fprintf(stderr, "viewer %td was closed with %d %.*s\n", c - viewers, code, f->len > 2 ? (int)f->len - 2 : 0,
                f->payload + 2);
        exit(3);
    } else if (f->opcode != OP_TEXT) {
        fail("a frame that is not text");
    } else if (starts(f, "{\"type\":\"delta\"") || starts(f, "{\"job\":")) {
        scan(c, f->payload, f->payload + f->len, now);
        if (!c->finished && contains(f, "\"type\":\"finished\"")) c->finished = true, finished_count++;
    } else {
        told(c, f);
    }
}

static size_t read_frames(Connection *c, uint8_t *data, size_t len, int64_t now) {
    Frame frame;
    size_t offset = 0, used;
    while ((used = read_frame(data + offset, len - offset, &frame))) {
        understand(c, &frame, now);
        offset += used;
    }
    return offset;
}

static size_t read_handshake(Connection *c, uint8_t *data, size_t len) {
    uint8_t *end = memmem(data, len, "\r\n\r\n", 4);
    if (!end) return 0;
    if (memcmp(data, "HTTP/1.1 101", 12)) {
        fprintf(stderr, "viewer %td got no WebSocket: %.*s\n", c - viewers, (int)(len < 400 ? len : 400), data);
        exit(3);
    }
    ask(c);
    return end + 4 - data;
}

/* What an agent is told; acknowledgements are passed over. */
static void hear(Connection *c, const Frame *f) {
    char id[MAX_JOB_ID];
    int job = f->opcode == OP_TEXT ? job_in(f, id) : -1;
    if (job >= 0 && job < options.streams) {
        Lease *lease = &leases[job];
        strcpy(lease->id, id);
        lease->agent = c - feeds;
        jobs_wanted++;
    } else if (f->opcode == OP_CLOSE || frame_has(f, "{\"type\":\"error\"")) {
        fprintf(stderr, "agent %td was sent away: %.*s\n", c - feeds, (int)f->len, f->payload);
        exit(3);
    } else if (frame_has(f, "{\"type\":\"registered\"")) {
        open_count++;
    }
}

static size_t read_agent(Connection *c, uint8_t *data, size_t len) {
    size_t offset = 0, used;
    if (c->state == UPGRADING) {
        uint8_t *end = memmem(data, len, "\r\n\r\n", 4);
        if (!end) return 0;
        if (memcmp(data, "HTTP/1.1 101", 12)) fail("the agents' door does not open");
        offset = end + 4 - data;
        c->state = OPEN;
        register_agent(&c->out, c - feeds, (options.streams + options.feeds - 1) / options.feeds);
        flush(c->fd, &c->out);
    }
    Frame frame;
    while ((used = read_frame(data + offset, len - offset, &frame))) {
        if (frame.opcode == OP_PING) answer(c, &frame);
        else hear(c, &frame);
        offset += used;
    }
    return offset;
}

/* The server asks for a stream: {"job":N} */
static size_t read_feed(uint8_t *data, size_t len) {
    uint8_t *start = data, *newline;
    while ((newline = memchr(start, '\n', data + len - start))) {
        jobs_wanted++;
        start = newline + 1;
    }
    return start - data;
}

static void receive(Connection *c) {
    static uint8_t shared[READ_SIZE];
    bool whole = !c->in.len; /* Nothing is left over from the last read: no need to copy. */
    if (!whole) reserve(&c->in, READ_SIZE);
    uint8_t *data = whole ? shared : c->in.data;
    ssize_t n = whole ? recv(c->fd, shared, READ_SIZE, 0) : recv(c->fd, data + c->in.len, READ_SIZE, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
        fprintf(stderr, "the server closed %s %td\n", c->kind == FEED ? "feed" : "viewer", c->kind == FEED ? c - feeds : c - viewers);
        exit(3);
    }
    int64_t now = now_ns();
    size_t len = whole ? (size_t)n : c->in.len + n, used = 0;
    if (c->kind == FEED) {
        used = options.agents ? read_agent(c, data, len) : read_feed(data, len);
    } else {
        if (c->state == UPGRADING) used = read_handshake(c, data, len);
        if (c->state != UPGRADING) used += read_frames(c, data + used, len - used, now);
    }
    if (whole) {
        if (used < len) append(&c->in, data + used, len - used);
    } else {
        c->in.len = len;
        consume(&c->in, used);
    }
}

static void poll_all(int milliseconds) {
    static struct epoll_event events[1024];
    int count = epoll_wait(ep, events, 1024, milliseconds);
    for (int i = 0; i < count; i++) receive(events[i].data.ptr);
}

/* ---- the feed ---- */

static Connection *feed_of(int job) { return &feeds[options.agents ? leases[job].agent : job % options.feeds]; }

static void feed_token(int job, int64_t stamp) {
    char line[4400];
    sent++;
    if (options.agents) {
        sprintf(line, "{\"type\":\"text\",\"text\":\"%s~%lld:%lld~\"}", padding, (long long)next_number[job]++,
                (long long)stamp);
        write_event(&feed_of(job)->out, &leases[job], line);
        return;
    }
    int len = sprintf(line, "{\"job\":%d,\"token\":\"%s~%lld:%lld~\"}\n", job, padding, (long long)next_number[job]++,
                      (long long)stamp);
    append(&feed_of(job)->out, line, len);
}

static void flush_feeds(void) {
    for (int i = 0; i < options.feeds; i++)
        if (!flush(feeds[i].fd, &feeds[i].out)) fail("the server closed the feed");
}

/* Tokens one at a time, each in a send of its own, at the moments that the rate asks for. */
static void feed_at_rate(int64_t start, int *job) {
    for (int burst = 0; burst < 64; burst++) {
        int64_t now = now_ns();
        if (now < start + (int64_t)(sent * 1e9 / options.rate)) return;
        feed_token(*job, now);
        Connection *feed = feed_of(*job);
        if (!flush(feed->fd, &feed->out)) fail("the server closed the feed");
        *job = (*job + 1) % options.streams;
    }
}

/* As many tokens as the window has room for, once an eighth of it is free. */
static void feed_window(int *job) {
    int64_t room = options.window - (sent - delivered * options.streams / options.viewers);
    if (room <= 0 || room < options.window / 8) return;
    int64_t now = now_ns();
    for (; room > 0; room--) {
        feed_token(*job, now);
        *job = (*job + 1) % options.streams;
    }
    flush_feeds();
}

/* ---- the run ---- */

static double cpu_of(clockid_t clock) {
    struct timespec t = {0};
    clock_gettime(clock, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static Reading take_reading(void) {
    clockid_t server;
    if (clock_getcpuclockid(options.pid, &server)) fail("no such server process");
    return (Reading){now_ns(), sent, delivered, frames, cpu_of(server), cpu_of(CLOCK_PROCESS_CPUTIME_ID)};
}

static int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double percentile(double share) {
    return latency_count ? latencies[(size_t)(share * (latency_count - 1))] / 100.0 : 0;
}

static void patience(int64_t since, double seconds, const char *what, int have, int want) {
    if (now_ns() - since < seconds * 1e9) return;
    fprintf(stderr, "gave up waiting for %s: %d of %d\n", what, have, want);
    exit(4);
}

static double open_all(void) {
    int64_t start = now_ns();
    bool first_alone = options.viewers > 1 && strstr(openings[1], "$CONVERSATION");
    while (open_count < options.viewers) {
        int limit = first_alone && !open_count ? 1 : options.viewers;
        while (opened < limit && opened - open_count < AT_ONCE) open_viewer(opened);
        poll_all(100);
        patience(start, 300, "the viewers", open_count, options.viewers);
    }
    return (now_ns() - start) / 1e9;
}

static void open_agents(void) {
    int64_t start = now_ns();
    for (int i = 0; i < options.feeds; i++) {
        upgrade_agent(&feeds[i].out, options.server);
        flush(feeds[i].fd, &feeds[i].out);
    }
    while (open_count < options.feeds) {
        poll_all(100);
        patience(start, 30, "the agents", open_count, options.feeds);
    }
    open_count = 0;
}

static void read_clients(void) {
    FILE *f = fopen(options.clients, "r");
    if (!f) fail(options.clients);
    openings = calloc(options.viewers, sizeof *openings);
    size_t room = 0;
    for (int v = 0; v < options.viewers; v++) {
        ssize_t len = getline(&openings[v], (room = 0, &room), f);
        if (len <= 0) fail("--clients has too few lines");
        openings[v][strcspn(openings[v], "\n")] = 0;
    }
    fclose(f);
}

static void run(Reading *first, Reading *last) {
    int64_t start = now_ns();
    int64_t measure_from = start + (int64_t)(options.warm * 1e9), measure_to = measure_from + (int64_t)(options.seconds * 1e9);
    int job = 0;
    for (;;) {
        int64_t now = now_ns();
        if (from_ns == INT64_MAX && now >= measure_from) *first = take_reading(), from_ns = first->at;
        if (now >= measure_to) break;
        if (options.rate > 0) feed_at_rate(start, &job);
        else feed_window(&job);
        flush_feeds();
        poll_all(0);
    }
    *last = take_reading();
    to_ns = last->at;
}

static void drain(void) {
    int64_t start = now_ns(), each = options.viewers / options.streams;
    while (delivered < sent * each && now_ns() - start < 20000000000LL) {
        flush_feeds();
        poll_all(50);
    }
}

static double finish(void) {
    int64_t start = now_ns();
    for (int job = 0; job < options.streams; job++) {
        char line[60];
        if (options.agents) {
            write_event(&feed_of(job)->out, &leases[job], "{\"type\":\"ended\",\"reason\":\"stop\",\"model\":\"m\"}");
            continue;
        }
        append(&feed_of(job)->out, line, sprintf(line, "{\"job\":%d,\"type\":\"finished\"}\n", job));
    }
    while (finished_count < options.viewers) {
        flush_feeds();
        poll_all(50);
        patience(start, 120, "the ends", finished_count, options.viewers);
    }
    return (now_ns() - start) / 1e9;
}

static void parse(int argc, char **argv) {
    for (int i = 1; i < argc; i += 2) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(name, "--server")) options.server = atoi(value);
        else if (!strcmp(name, "--feed")) options.feed = atoi(value);
        else if (!strcmp(name, "--clients")) options.clients = value;
        else if (!strcmp(name, "--subprotocol")) options.subprotocol = value;
        else if (!strcmp(name, "--pid")) options.pid = atoi(value);
        else if (!strcmp(name, "--streams")) options.streams = atoi(value);
        else if (!strcmp(name, "--viewers")) options.viewers = atoi(value);
        else if (!strcmp(name, "--feeds")) options.feeds = atoi(value);
        else if (!strcmp(name, "--rate")) options.rate = atof(value);
        else if (!strcmp(name, "--window")) options.window = atoi(value);
        else if (!strcmp(name, "--pad")) options.pad = atoi(value);
        else if (!strcmp(name, "--warm")) options.warm = atof(value);
        else if (!strcmp(name, "--seconds")) options.seconds = atof(value);
        else if (!strcmp(name, "--hold")) options.hold = atoi(value);
        else if (!strcmp(name, "--finish")) options.finish = atoi(value);
        else if (!strcmp(name, "--agents")) options.agents = atoi(value);
        else fail(name);
    }
    if (!options.viewers) options.viewers = options.streams;
    if (options.feeds > options.streams) options.feeds = options.streams;
    if (!options.clients || options.viewers % options.streams || options.feeds > MAX_FEEDS || options.pad >= 4096)
        fail("the options do not go together");
    memset(padding, 'x', options.pad);
}

int main(int argc, char **argv) {
    all_files();
    parse(argc, argv);
    ep = epoll_create1(0);
    read_clients();
    viewers = calloc(options.viewers, sizeof *viewers);
    next_number = calloc(options.streams, sizeof *next_number);
    leases = calloc(options.streams, sizeof *leases);
    latency_room = 1 << 24;
    latencies = malloc(latency_room * sizeof *latencies);
    if (!options.hold)
        for (int i = 0; i < options.feeds; i++) {
            feeds[i].kind = FEED;
            feeds[i].fd = connect_to(options.agents ? options.server : options.feed);
            add(&feeds[i]);
        }
    if (options.agents) open_agents();
    double opening = open_all();
    if (options.hold) {
        printf("{\"open\": %d, \"opening_s\": %.3f}\n", open_count, opening);
        fflush(stdout);
        struct epoll_event input = {.events = EPOLLIN, .data.ptr = NULL};
        epoll_ctl(ep, EPOLL_CTL_ADD, 0, &input);
        for (;;) {
            if (epoll_wait(ep, &input, 1, -1) < 1) continue;
            if (!input.data.ptr) return 0;
            receive(input.data.ptr);
        }
    }
    int64_t start = now_ns();
    while (jobs_wanted < options.streams) {
        poll_all(50);
        patience(start, 60, "the server to ask for the streams", jobs_wanted, options.streams);
    }
    Reading first = {0}, last = {0};
    run(&first, &last);
    drain();
    int64_t lost = sent * (options.viewers / options.streams) - delivered;
    double closing = options.finish ? finish() : 0;
    qsort(latencies, latency_count, sizeof *latencies, by_value);
    double seconds = (last.at - first.at) / 1e9, tokens = last.sent - first.sent, got = last.delivered - first.delivered;
    printf("{\"streams\": %d, \"viewers\": %d, \"seconds\": %.3f, \"tokens_per_s\": %.0f, \"deliveries_per_s\": %.0f, "
           "\"deliveries_per_frame\": %.3f, \"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f, "
           "\"cpu_s_per_million\": %.3f, \"server_load\": %.3f, \"own_load\": %.3f, \"lost\": %lld, \"wrong\": %lld, "
           "\"total\": %lld, \"opening_s\": %.3f, \"closing_s\": %.3f}\n",
           options.streams, options.viewers, seconds, tokens / seconds, got / seconds,
           got / (last.frames - first.frames ? last.frames - first.frames : 1), percentile(.5), percentile(.99),
           percentile(.999), percentile(1), got ? (last.server_cpu - first.server_cpu) / got * 1e6 : 0,
           (last.server_cpu - first.server_cpu) / seconds, (last.own_cpu - first.own_cpu) / seconds, (long long)lost,
           (long long)wrong, (long long)sent, opening, closing);
    return 0;
}
