// Long work on the main thread in slices, so that the page answers between them.

/**
 * The time that all jobs together take before the browser may paint and handle input. A slice takes as long as the browser
 * took since the last one, within these limits: shorter slices of a long page would be spent on its layout.
 */
const MIN_SLICE_MS = 12;
const MAX_SLICE_MS = 48;

/** Does a small step of a job. Returns whether the job is done. */
export type Step = () => boolean;

/** The newest job is done first: it is the lowest message on the page, and the page shows the end of a conversation. */
let jobs: Step[] = [];
let timer: ReturnType<typeof setTimeout> | undefined;
/** When the current task has used up its time. 0 outside of a task. */
let deadline = 0;
/** When the last slice ended. */
let lastEnd = 0;

/** Do a job now as far as the time of this task allows, and the rest in later tasks. */
export function runInSlices(step: Step): void {
  cancelSlices(step);
  jobs.push(step);
  if (deadline === 0) {
    deadline = performance.now() + MIN_SLICE_MS;
    // A microtask runs after the present task, in which several messages may begin a job.
    queueMicrotask(() => (deadline = 0));
  }
  runJob(step);
  schedule();
}

export function cancelSlices(step: Step): void {
  jobs = jobs.filter((each) => each !== step);
}

function runJob(step: Step): void {
  while (performance.now() < deadline) {
    if (step()) {
      cancelSlices(step);
      return;
    }
  }
}

function schedule(): void {
  if (jobs.length > 0) timer ??= setTimeout(runSlice, 0);
}

function runSlice(): void {
  timer = undefined;
  const start = performance.now();
  deadline = start + Math.min(Math.max(start - lastEnd, MIN_SLICE_MS), MAX_SLICE_MS);
  while (jobs.length > 0 && performance.now() < deadline) runJob(jobs.at(-1)!);
  deadline = 0;
  lastEnd = performance.now();
  schedule();
}
