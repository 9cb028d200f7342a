import { Component, createRef } from "preact";
import { MarkdownView } from "../render/markdownView";

interface Props {
  text: string;
  live: boolean;
}

/** A message's text as Markdown. Preact owns only the root element; `MarkdownView` owns everything in it. */
export class Prose extends Component<Props> {
  private root = createRef<HTMLDivElement>();
  private view: MarkdownView | null = null;

  override componentDidMount(): void {
    this.view = new MarkdownView(this.root.current!);
    // Render a running reply at once, so that the page keeps its scroll position.
    if (this.props.live) this.view.renderNow(this.props.text);
    else this.view.finish(this.props.text);
  }

  override shouldComponentUpdate(next: Props): boolean {
    if (next.live) this.view?.update(next.text);
    else if (this.props.live || next.text !== this.props.text) this.view?.finish(next.text);
    return next.live !== this.props.live;
  }

  override componentWillUnmount(): void {
    this.view?.cancel();
  }

  render() {
    return <div ref={this.root} class={this.props.live ? "prose live" : "prose"} />;
  }
}
