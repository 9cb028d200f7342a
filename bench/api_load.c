/* The load generator of the APIs: it is the OpenAI-compatible server behind what is measured, and every client before it, so
 * one clock times both.
 *
 *     api_load UPSTREAM_PORT
 *
 * Each line of standard input is one run, as words: `mode M port P path /… header H pids 1,2 streams N …`; `header` is one header
 * line with `|` for each space. Each run is answered by one JSON object on standard output. Modes:
 *
 *     paced    N streams get `rate` tokens a second together, for `seconds` after `warm`
 *     window   N streams with `window` tokens under way in each
 *     sustain  N streams of `tokens` tokens, one every `gap` ms; a token is late after one gap
 *     first    `count` replies of one token, one after the other
 *     short    whole replies that are not streamed, `streams` at once, for `seconds`
 *
 * A token is an event `data: {… "content":" ~SEQ:NANOSECONDS~" …}` in a send of its own (in `window`, several in one). The clients
 * check that the numbers come in order, each once, and that each reply has its end.
 */
#include "wire.h"

enum { READ_SIZE = 1 << 16, MAX_STREAMS = 20000, LISTENER = 0, UPSTREAM = 1, CLIENT = 2, SAMPLES = 1 << 22 };
enum { HEAD, SIZE, DATA, DATA_END, TRAILER, LENGTH, ENDED };

typedef struct Client Client;

typedef struct {
    int kind, fd, generation;
    Buffer in, out;
    Client *client; /* whose reply it writes */
    int64_t next, due;
    bool writing, polled;
} Upstream;

struct Client {
    int kind, fd, state, number, status;
    Buffer in, line, out;
    Upstream *upstream;
    int64_t expected, asked_at, last_at, last_stamp;
    size_t left;
    bool busy, done, closes, first, polled;
};

static struct {
    char mode[16], path[256], header[1024];
    int port, streams, window, tokens, count, pids[16], pid_count;
    double rate, warm, seconds, gap;
} run;

static Client clients[MAX_STREAMS];
static Upstream *queue[MAX_STREAMS * 2];
static int ep, listener, queue_head, queue_length, generation, busy_count;
static bool ending;
static int64_t sent, delivered, wrong, late, ended, failed, measure_from, measure_to, measured;
static double cpu_from, cpu_to;
static char trouble[400];

typedef struct {
    uint32_t *values;
    size_t count;
} Samples;
static Samples ways, firsts, gaps;

static void sample(Samples *s, int64_t ns) {
    if (s->count < SAMPLES) s->values[s->count++] = ns < 0 ? 0 : ns > 4000000000LL ? 4000000000u : (uint32_t)ns;
}

static int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double at_share(Samples *s, double share) {
    return s->count ? s->values[(size_t)(share * (s->count - 1))] / 1000.0 : 0;
}

static double cpu(void) {
    double total = 0;
    for (int i = 0; i < run.pid_count; i++) {
        clockid_t id;
        struct timespec t = {0};
        if (!clock_getcpuclockid(run.pids[i], &id)) clock_gettime(id, &t);
        total += t.tv_sec + t.tv_nsec / 1e9;
    }
    return total;
}

static bool is(const char *mode) { return !strcmp(run.mode, mode); }
static bool measuring(int64_t now) { return now >= measure_from && now < measure_to; }

static void poll_for(int fd, void *what, bool output, bool fresh) {
    struct epoll_event event = {.events = EPOLLIN | (output ? EPOLLOUT : 0), .data.ptr = what};
    epoll_ctl(ep, fresh ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event);
}

/* ---- the server behind ---- */

static void push(Upstream *u) {
    queue[(queue_head + queue_length++) % (MAX_STREAMS * 2)] = u;
}

static void write_out(Upstream *u) {
    if (!flush(u->fd, &u->out)) {
        u->writing = false;
        return;
    }
    if ((u->out.len > 0) != u->polled) poll_for(u->fd, u, u->polled = u->out.len > 0, false);
}

static void add_event(Upstream *u, const char *delta, const char *reason) {
    char event[700], size[16];
    int len = sprintf(event,
                      "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":"
                      "[{\"index\":0,\"delta\":%s,\"logprobs\":null,\"finish_reason\":%s}]}\n\n",
                      delta, reason);
    append(&u->out, size, sprintf(size, "%x\r\n", len));
    append(&u->out, event, len);
    append(&u->out, "\r\n", 2);
}

static void add_token(Upstream *u) {
    char delta[100];
    sprintf(delta, "{\"content\":\" ~%lld:%lld~\"}", (long long)u->next++, (long long)now_ns());
    add_event(u, delta, "null");
    sent++;
}

static void add_end(Upstream *u) {
    add_event(u, "{}", "\"stop\"");
    const char *last = "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";
    append(&u->out, last, strlen(last));
    u->writing = false;
}

static void add_whole(Upstream *u, const char *body) {
    char head[200];
    append(&u->out, head,
           sprintf(head, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n", strlen(body)));
    append(&u->out, body, strlen(body));
}

static void fill_window(Upstream *u) {
    int64_t room = run.window - (u->next - u->client->expected);
    if (!u->writing || room * 2 < run.window) return;
    for (; room > 0; room--) add_token(u);
    write_out(u);
}

static void answer(Upstream *u, const char *head, const char *body, size_t length) {
    if (!strncmp(head, "GET", 3)) {
        add_whole(u, "{\"object\":\"list\",\"data\":[{\"id\":\"m\",\"object\":\"model\",\"created\":0,\"owned_by\":\"bench\"}]}");
        return;
    }
    char *job = memmem(body, length, "job ", 4);
    int number = job ? atoi(job + 4) : -1;
    bool streams = memmem(body, length, "\"stream\":true", 13) || memmem(body, length, "\"stream\": true", 14);
    if (!streams || number < 0 || number >= run.streams) {
        char whole[500];
        sprintf(whole,
                "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"message\":"
                "{\"role\":\"assistant\",\"content\":\"~0:%lld~\"},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":"
                "{\"prompt_tokens\":1,\"completion_tokens\":1,\"total_tokens\":2}}",
                (long long)now_ns());
        add_whole(u, whole);
        return;
    }
    const char *start = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    append(&u->out, start, strlen(start));
    u->client = &clients[number];
    u->client->upstream = u;
    u->next = 0;
    u->writing = true;
    u->generation = generation;
    add_event(u, "{\"role\":\"assistant\",\"content\":\"\"}", "null");
    add_token(u);
    if (is("first") || is("short")) {
        add_end(u);
    } else if (is("window")) {
        fill_window(u);
    } else {
        u->due = now_ns() + (int64_t)(run.gap * 1e6);
        push(u);
    }
}

static void read_request(Upstream *u) {
    for (;;) {
        append(&u->in, "", 1); /* so that it ends as a string does */
        u->in.len--;
        char *data = (char *)u->in.data, *end = memmem(data, u->in.len, "\r\n\r\n", 4);
        if (!end) return;
        size_t head = end + 4 - data, length = 0;
        end[2] = 0;
        char *field = strcasestr(data, "\ncontent-length:");
        if (field) length = strtoul(field + 16, NULL, 10);
        if (strcasestr(data, "\ntransfer-encoding:")) fail("a request in chunks");
        end[2] = '\r';
        if (u->in.len < head + length) return;
        answer(u, data, data + head, length);
        write_out(u);
        consume(&u->in, head + length);
    }
}

static void send_due(int64_t now) {
    while (queue_length && queue[queue_head]->due <= now) {
        Upstream *u = queue[queue_head];
        queue_head = (queue_head + 1) % (MAX_STREAMS * 2);
        queue_length--;
        if (!u->writing || u->generation != generation) continue;
        if (ending || (run.tokens && u->next >= run.tokens)) {
            add_end(u);
        } else {
            add_token(u);
            u->due += (int64_t)(run.gap * 1e6);
            push(u);
        }
        write_out(u);
    }
}

/* ---- the clients ---- */

static void close_client(Client *c) {
    if (c->fd > 0) close(c->fd);
    c->fd = 0;
    c->in.len = c->line.len = c->out.len = 0;
    c->polled = false;
}

static void ask(Client *c) {
    char body[300], head[1700];
    if (c->fd <= 0) {
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(run.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        c->fd = socket(AF_INET, SOCK_STREAM, 0);
        if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to)) fail("connect");
        fcntl(c->fd, F_SETFL, O_NONBLOCK);
        no_delay(c->fd);
        poll_for(c->fd, c, false, true);
    }
    int length = sprintf(body, "{\"model\":\"m\",\"stream\":%s,\"messages\":[{\"role\":\"user\",\"content\":\"job %d\"}]}",
                         is("short") ? "false" : "true", c->number);
    int size = snprintf(head, sizeof head,
                        "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nAccept: */*\r\n%s%sContent-Length: %d\r\n\r\n",
                        run.path, run.header, *run.header ? "\r\n" : "", length);
    append(&c->out, head, size);
    append(&c->out, body, length);
    c->state = HEAD;
    c->status = 0;
    c->expected = 0;
    c->busy = true;
    busy_count++;
    c->done = c->closes = c->first = false;
    c->upstream = NULL;
    c->asked_at = now_ns();
    if (!flush(c->fd, &c->out)) fail("the server closed a connection that it had kept");
}

static void token(Client *c, int64_t number, int64_t stamp, int64_t now) {
    if (number != c->expected) wrong++;
    c->expected = number + 1;
    if (!c->first) {
        c->first = true;
        sample(&firsts, now - c->asked_at);
    } else if (is("sustain") || measuring(now)) {
        int64_t more = (now - c->last_at) - (stamp - c->last_stamp);
        sample(&gaps, more);
    }
    c->last_at = now;
    c->last_stamp = stamp;
    if (is("sustain") || measuring(now)) sample(&ways, now - stamp);
    if (is("sustain") && now - stamp > run.gap * 1e6) late++;
    delivered++;
}

static void read_line(Client *c, char *line, int64_t now) {
    char *mark = strchr(line, '~');
    if (mark) {
        char *colon = strchr(mark, ':');
        if (colon) token(c, atoll(mark + 1), atoll(colon + 1), now);
    } else if (strstr(line, "[DONE]")) {
        c->done = true;
    }
}

static void payload(Client *c, const uint8_t *data, size_t len, int64_t now) {
    append(&c->line, data, len);
    size_t from = 0;
    uint8_t *end;
    while ((end = memchr(c->line.data + from, '\n', c->line.len - from))) {
        *end = 0;
        read_line(c, (char *)c->line.data + from, now);
        from = end - c->line.data + 1;
    }
    if (from) consume(&c->line, from);
}

static void finish(Client *c, int64_t now) {
    bool whole = c->status == 200;
    if (is("short")) {
        append(&c->line, "", 1);
        whole = whole && strstr((char *)c->line.data, "~0:");
    } else {
        whole = whole && c->done && (!run.tokens || c->expected == run.tokens);
    }
    if (!whole) {
        failed++;
        if (!*trouble) {
            append(&c->line, "", 1);
            snprintf(trouble, sizeof trouble, "status %d after %lld tokens: %.200s", c->status, (long long)c->expected, (char *)c->line.data);
        }
    } else {
        ended++;
        if (measuring(now)) measured++;
        if (is("short")) sample(&firsts, now - c->asked_at);
    }
    c->busy = false;
    busy_count--;
    c->line.len = 0;
    if (c->closes) close_client(c);
}

/* Take the bytes of a response: its head, then its body in chunks or of a known length. */
static void read_response(Client *c, int64_t now) {
    size_t at = 0;
    while (c->busy && at < c->in.len) {
        uint8_t *data = c->in.data + at;
        size_t len = c->in.len - at;
        if (c->state == HEAD) {
            uint8_t *end = memmem(data, len, "\r\n\r\n", 4);
            if (!end) break;
            end[2] = 0;
            c->status = atoi((char *)data + 9);
            c->closes = strcasestr((char *)data, "\nconnection: close") != NULL;
            char *field = strcasestr((char *)data, "\ncontent-length:");
            if (strcasestr((char *)data, "\ntransfer-encoding: chunked")) c->state = SIZE;
            else c->state = LENGTH, c->left = field ? strtoul(field + 16, NULL, 10) : SIZE_MAX;
            at += end + 4 - data;
            if (c->state == LENGTH && !c->left) finish(c, now);
        } else if (c->state == SIZE || c->state == TRAILER || c->state == DATA_END) {
            uint8_t *end = memchr(data, '\n', len);
            if (!end) break;
            at += end + 1 - data;
            if (c->state == SIZE) {
                c->left = strtoul((char *)data, NULL, 16);
                c->state = c->left ? DATA : TRAILER;
            } else if (c->state == DATA_END) {
                c->state = SIZE;
            } else if (end - data <= 1) {
                finish(c, now);
            }
        } else {
            size_t part = len < c->left ? len : c->left;
            payload(c, data, part, now);
            c->left -= part;
            at += part;
            if (!c->left && c->state == DATA) c->state = DATA_END;
            else if (!c->left) finish(c, now);
        }
    }
    if (at) consume(&c->in, at < c->in.len ? at : c->in.len);
    if (is("window") && c->busy && c->upstream && c->upstream->generation == generation) fill_window(c->upstream);
}

/* ---- the run ---- */

static void receive(void *what, uint32_t events) {
    int kind = *(int *)what;
    if (kind == LISTENER) {
        int fd;
        while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
            Upstream *u = calloc(1, sizeof *u);
            u->kind = UPSTREAM;
            u->fd = fd;
            no_delay(fd);
            poll_for(fd, u, false, true);
        }
        return;
    }
    Buffer *in = kind == UPSTREAM ? &((Upstream *)what)->in : &((Client *)what)->in;
    int fd = kind == UPSTREAM ? ((Upstream *)what)->fd : ((Client *)what)->fd;
    if (fd <= 0) return;
    if (kind == UPSTREAM && events & EPOLLOUT) write_out(what);
    for (;;) {
        reserve(in, READ_SIZE + 1);
        ssize_t n = recv(fd, in->data + in->len, READ_SIZE, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) {
            if (kind == UPSTREAM) {
                epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL);
                close(fd);
                ((Upstream *)what)->fd = -1;
                ((Upstream *)what)->writing = false;
            } else {
                Client *c = what;
                if (c->busy) finish(c, now_ns());
                close_client(c);
            }
            return;
        }
        in->len += n;
        if (kind == UPSTREAM) read_request(what);
        else read_response(what, now_ns());
        if (n < READ_SIZE) return;
    }
}

static void poll_until(int64_t until) {
    struct epoll_event events[256];
    int64_t now = now_ns(), wait = until - now;
    if (queue_length && queue[queue_head]->due - now < wait) wait = queue[queue_head]->due - now;
    if (wait < 0) wait = 0;
    struct timespec patience = {wait / 1000000000LL, wait % 1000000000LL};
    int count = epoll_pwait2(ep, events, 256, &patience, NULL);
    for (int i = 0; i < count; i++) receive(events[i].data.ptr, events[i].events);
    send_due(now_ns());
}

static void measure(void) {
    int64_t start = now_ns(), now, got_from = 0;
    generation++;
    ending = false;
    queue_head = queue_length = 0;
    sent = delivered = wrong = late = ended = failed = measured = 0;
    ways.count = firsts.count = gaps.count = 0;
    *trouble = 0;
    for (int i = 0; i < run.streams; i++) clients[i].kind = CLIENT, clients[i].number = i, clients[i].busy = false;
    if (is("paced")) run.gap = 1000.0 * run.streams / run.rate;
    bool streaming = is("paced") || is("window");
    double stagger = is("sustain") ? run.gap * 64 / run.streams : is("paced") ? run.gap * (1 + 1.0 / run.streams) : 0;
    double opening = stagger * run.streams / 1000;
    measure_from = start + (int64_t)((opening + run.warm) * 1e9);
    measure_to = run.seconds > 0 ? measure_from + (int64_t)(run.seconds * 1e9) : INT64_MAX;
    if (is("first") || is("sustain")) measure_from = start;
    int opened = 0, asked = 0;
    bool began = false;
    while ((now = now_ns()) < measure_to) {
        if (!began && now >= measure_from) began = true, got_from = delivered, measured = 0, cpu_from = cpu();
        if (is("first")) {
            if (!clients[0].busy) {
                if (asked++ == run.count) break;
                ask(&clients[0]);
            }
        } else if (is("short")) {
            for (int i = 0; i < run.streams; i++)
                if (!clients[i].busy) ask(&clients[i]);
        } else {
            while (opened < run.streams && now >= start + (int64_t)(stagger * opened * 1e6)) ask(&clients[opened++]);
            if (is("sustain") && opened == run.streams && !busy_count) break;
        }
        if (failed > 50 || (!streaming && !is("short") && now - start > 120e9)) break;
        int64_t next = opened < run.streams && (streaming || is("sustain")) ? start + (int64_t)(stagger * opened * 1e6) : now + 10000000;
        poll_until(next < measure_to ? next : measure_to);
    }
    now = now_ns();
    cpu_to = cpu();
    double seconds = (now - measure_from) / 1e9;
    int64_t got = delivered - got_from, replies = is("short") ? measured : ended;
    ending = true;
    int64_t since = now_ns();
    while (busy_count && now_ns() - since < 20000000000LL) {
        if (is("window"))
            for (int i = 0; i < run.streams; i++) {
                Upstream *u = clients[i].upstream;
                if (clients[i].busy && u && u->writing && u->generation == generation) add_end(u), write_out(u);
            }
        poll_until(now_ns() + 1000000);
    }
    int64_t unfinished = busy_count;
    for (int i = 0; i < run.streams; i++) close_client(&clients[i]), clients[i].busy = false;
    busy_count = 0;
    Samples *all[] = {&ways, &firsts, &gaps};
    for (int i = 0; i < 3; i++) qsort(all[i]->values, all[i]->count, sizeof(uint32_t), by_value);
    for (char *c = trouble; *c; c++)
        if (*c == '"' || *c == '\\' || (unsigned char)*c < 32) *c = ' ';
    printf("{\"seconds\": %.3f, \"tokens\": %lld, \"tokens_per_s\": %.0f, \"replies\": %lld, \"replies_per_s\": %.1f, \"cpu_s\": %.4f, "
           "\"cpu_s_per_million\": %.3f, \"load\": %.3f, \"p50_us\": %.1f, \"p99_us\": %.1f, \"first_p50_us\": %.1f, \"first_p99_us\": %.1f, "
           "\"gap_p50_us\": %.1f, \"gap_p99_us\": %.1f, \"late\": %lld, \"lost\": %lld, \"wrong\": %lld, \"failed\": %lld, \"trouble\": \"%s\"}\n",
           seconds, (long long)got, got / seconds, (long long)replies, replies / seconds, cpu_to - cpu_from,
           got ? (cpu_to - cpu_from) / got * 1e6 : 0, (cpu_to - cpu_from) / seconds, at_share(&ways, .5), at_share(&ways, .99),
           at_share(&firsts, .5), at_share(&firsts, .99), at_share(&gaps, .5), at_share(&gaps, .99), (long long)late,
           (long long)(is("short") ? 0 : sent - delivered), (long long)wrong, (long long)(failed + unfinished), trouble);
    fflush(stdout);
}

static void parse(char *line) {
    memset(&run, 0, sizeof run);
    run.gap = 20;
    char *save = NULL;
    for (char *name = strtok_r(line, " \n", &save); name; name = strtok_r(NULL, " \n", &save)) {
        char *value = strtok_r(NULL, " \n", &save);
        if (!value) fail(name);
        if (!strcmp(name, "mode")) snprintf(run.mode, sizeof run.mode, "%s", value);
        else if (!strcmp(name, "path")) snprintf(run.path, sizeof run.path, "%s", value);
        else if (!strcmp(name, "header")) {
            snprintf(run.header, sizeof run.header, "%s", value);
            for (char *c = run.header; *c; c++)
                if (*c == '|') *c = ' ';
        } else if (!strcmp(name, "pids")) {
            for (char *each = value; each && run.pid_count < 16; each = strchr(each, ',') ? strchr(each, ',') + 1 : NULL)
                run.pids[run.pid_count++] = atoi(each);
        } else if (!strcmp(name, "port")) run.port = atoi(value);
        else if (!strcmp(name, "streams")) run.streams = atoi(value);
        else if (!strcmp(name, "window")) run.window = atoi(value);
        else if (!strcmp(name, "tokens")) run.tokens = atoi(value);
        else if (!strcmp(name, "count")) run.count = atoi(value);
        else if (!strcmp(name, "rate")) run.rate = atof(value);
        else if (!strcmp(name, "warm")) run.warm = atof(value);
        else if (!strcmp(name, "seconds")) run.seconds = atof(value);
        else if (!strcmp(name, "gap")) run.gap = atof(value);
        else fail(name);
    }
    if (run.streams < 1) run.streams = 1;
    if (run.streams > MAX_STREAMS) fail("too many streams");
}

int main(int argc, char **argv) {
    all_files();
    if (argc != 2) fail("usage: api_load UPSTREAM_PORT");
    Samples *all[] = {&ways, &firsts, &gaps};
    for (int i = 0; i < 3; i++) all[i]->values = malloc(SAMPLES * sizeof(uint32_t));
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1, listening = LISTENER, input = -1;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 4096)) fail("listen");
    ep = epoll_create1(0);
    poll_for(listener, &listening, false, true);
    poll_for(0, &input, false, true);
    printf("ready\n");
    fflush(stdout);
    char line[4096];
    for (;;) {
        struct epoll_event events[64];
        int count = epoll_wait(ep, events, 64, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr != &input) {
                receive(events[i].data.ptr, events[i].events);
                continue;
            }
            if (!fgets(line, sizeof line, stdin)) return 0;
            parse(line);
            poll_for(0, &input, false, false);
            epoll_ctl(ep, EPOLL_CTL_DEL, 0, NULL);
            measure();
            poll_for(0, &input, false, true);
        }
    }
}
