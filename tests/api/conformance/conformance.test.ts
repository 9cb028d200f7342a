import { runConformanceTests } from "@durable-streams/server-conformance-tests";

runConformanceTests({ baseUrl: process.env.SERVER_ADDRESS, longPollTimeoutMs: 30_000 });
