"""The Vercel AI SDK: requests of `useChat`, and the UI message stream that it reads."""
