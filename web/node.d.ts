// What vite.config.ts uses of Node.js. The package with all of its types is not installed for that.

declare const process: { env: Record<string, string | undefined> };

declare module "node:fs" {
  export function readFileSync(path: string): Uint8Array;
  export function writeFileSync(path: string, content: Uint8Array): void;
}

declare module "node:path" {
  export function join(...parts: string[]): string;
}

declare module "node:zlib" {
  export function brotliCompressSync(content: Uint8Array): Uint8Array;
  export function gzipSync(content: Uint8Array, options: { level: number }): Uint8Array;
}
