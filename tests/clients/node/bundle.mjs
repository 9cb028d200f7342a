// Writes page.mjs with all that it imports as one script to the standard output. The first argument is the directory of Vite.
import { join } from "node:path";

const { build } = await import(join(process.argv[2], "dist/node/index.js"));
const [{ output }] = await build({
  configFile: false,
  logLevel: "error",
  define: { "process.env.NODE_ENV": '"production"' },
  build: { write: false, minify: false, lib: { entry: "page.mjs", formats: ["iife"], name: "page" } },
});
process.stdout.write(output[0].code);
