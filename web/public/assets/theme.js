// Apply the stored theme before the first paint, so that the page does not flash in the other theme.
try {
  const theme = localStorage.getItem("legato.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Without access to localStorage, the page follows the system's theme.
}
