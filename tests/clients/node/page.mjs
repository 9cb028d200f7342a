// A page with `useChat`, for a real browser. It keeps its messages in the browser, as an application keeps them in its database.
import { useChat } from "@ai-sdk/react";
import { DefaultChatTransport } from "ai";
import { createElement, useEffect } from "react";
import { createRoot } from "react-dom/client";

const transport = new DefaultChatTransport({ api: "/ai/chat", body: { model: "default" } });
const stored = JSON.parse(localStorage.getItem("messages") ?? "[]");

function Chat() {
  const { messages, sendMessage, status } = useChat({ id: "a chat", messages: stored, resume: true, transport });
  useEffect(() => {
    const complete = status === "ready" ? messages : messages.slice(0, messages.findLastIndex((m) => m.role === "user") + 1);
    localStorage.setItem("messages", JSON.stringify(complete));
  }, [messages, status]);
  const texts = messages.map((message) =>
    createElement("p", { key: message.id, className: message.role }, message.parts.map((part) => part.text ?? "")),
  );
  const send = () => sendMessage({ text: "wait for me" });
  return createElement("main", { "data-status": status }, texts, createElement("button", { onClick: send }, "Send"));
}

createRoot(document.getElementById("root")).render(createElement(Chat));
