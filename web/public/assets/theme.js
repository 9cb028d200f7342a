// Before the first paint, so that a dark room stays dark.
try {
  const theme = localStorage.getItem("legato.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // A browser that keeps nothing follows the system.
}
