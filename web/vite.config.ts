import { type Plugin, defineConfig } from "vite";

declare const process: { env: Record<string, string | undefined> };

const server = process.env.LEGATO_SERVER ?? "http://127.0.0.1:8000";

/** KaTeX names each font in three formats. Every browser that the page supports reads the first, WOFF2. */
const woff2Only: Plugin = {
  name: "woff2-only",
  enforce: "pre",
  transform(code, id) {
    return id.includes("katex") && id.endsWith(".css") ? code.replace(/,url\([^)]*\.(?:woff|ttf)\) format\("[^"]*"\)/g, "") : null;
  },
};

export default defineConfig({
  plugins: [woff2Only],
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: process.env.LEGATO_PAGE_DIR ?? "../src/legato/gateway/page",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
    reportCompressedSize: true,
  },
  server: {
    proxy: {
      "/api": server,
      "/ws": { target: server, ws: true },
    },
  },
});
