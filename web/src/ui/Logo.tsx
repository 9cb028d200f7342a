// The logo is a slur (the curve that joins two notes in sheet music). The connection icon is the same curve.

export function Logo() {
  return (
    <svg class="logo" viewBox="0 0 24 24" aria-hidden="true">
      <path d="M2.6 12.6C6 3.2 18 3.2 21.4 12.6C21.6 13.2 20.9 13.5 20.6 13C17 6.4 7 6.4 3.4 13C3.1 13.5 2.4 13.2 2.6 12.6Z" />
      <circle cx="5.6" cy="18" r="2.6" />
      <circle cx="18.4" cy="18" r="2.6" />
    </svg>
  );
}

export function ConnectionIcon({ state }: { state: "whole" | "partial" | "broken" }) {
  return (
    <svg class={`connection-icon ${state}`} viewBox="0 0 24 20" aria-hidden="true">
      <path d="M3.5 10.5C7 2.5 17 2.5 20.5 10.5" pathLength={100} />
      <circle cx="5.2" cy="15.5" r="2.2" />
      <circle cx="18.8" cy="15.5" r="2.2" />
    </svg>
  );
}
