import { render } from "preact";
import { Client } from "./live/client";
import "./style/base.css";
import "./style/house.css";
import "./style/message.css";
import "./style/prose.css";
import "./style/together.css";
import { App } from "./ui/App";

const client = new Client();
render(<App client={client} />, document.getElementById("page")!);
client.start();
