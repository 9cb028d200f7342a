import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { type Plugin, defineConfig } from "vite";

const server = process.env.LEGATO_SERVER ?? "http://127.0.0.1:8000";

/** KaTeX names each font in three formats. Every browser that the page supports reads the first, WOFF2. */
const woff2Only: Plugin = {
  name: "woff2-only",
  enforce: "pre",
  transform(code, id) {
    return id.includes("katex") && id.endsWith(".css") ? code.replace(/,url\([^)]*\.(?:woff|ttf)\) format\("[^"]*"\)/g, "") : null;
  },
};

/** Write each text file a second and a third time, compressed, so that the server need not compress it. */
const compressed: Plugin = {
  name: "compressed",
  apply: "build",
  writeBundle(options, bundle) {
    for (const name of [...Object.keys(bundle), "assets/logo.svg", "assets/theme.js"]) {
      if (!/\.(?:html|js|css|svg)$/.test(name)) continue;
      const path = join(options.dir!, name);
      const content = readFileSync(path);
      for (const [suffix, encoded] of [[".br", brotliCompressSync(content)], [".gz", gzipSync(content, { level: 9 })]] as const) {
        if (encoded.length < content.length) writeFileSync(path + suffix, encoded);
      }
    }
  },
};

export default defineConfig({
  plugins: [woff2Only, compressed],
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: process.env.LEGATO_PAGE_DIR ?? "../src/legato/gateway/page",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
    reportCompressedSize: true,
  },
  experimental: {
    // The server may be published below a path prefix. It writes the prefix into the HTML page; scripts and styles find
    // further files relative to themselves.
    renderBuiltUrl: (_file, { hostType }) => (hostType === "html" ? undefined : { relative: true }),
  },
  server: {
    proxy: {
      "/api": server,
      "/ws": { target: server, ws: true },
    },
  },
});
