// Whether the engines can answer. The server is asked now and then while the page is visible.

import * as rest from "./rest";

const INTERVAL_MS = 10_000;

export class EngineHealth {
  private states: rest.Readiness["engines"] = {};
  private loading = false;
  private readonly onChange: () => void;

  constructor(onChange: () => void) {
    this.onChange = onChange;
  }

  start(): void {
    void this.load();
    window.setInterval(() => {
      if (!document.hidden) void this.load();
    }, INTERVAL_MS);
  }

  /** False only if the server has said that the engine cannot answer. */
  isAvailable(engine: string | undefined): boolean {
    return engine === undefined || this.states[engine]?.ok !== false;
  }

  async load(): Promise<void> {
    if (this.loading) return;
    this.loading = true;
    try {
      const before = JSON.stringify(this.states);
      this.states = (await rest.getReadiness()).engines ?? {};
      if (JSON.stringify(this.states) !== before) this.onChange();
    } catch {
      // The server cannot be reached: the connection status says so.
    } finally {
      this.loading = false;
    }
  }
}
