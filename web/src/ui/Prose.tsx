import { Component, createRef } from "preact";
import { TextView } from "../render/view";

interface Props {
  text: string;
  live: boolean;
}

/** A message's text. Preact owns the element and nothing in it. */
export class Prose extends Component<Props> {
  private root = createRef<HTMLDivElement>();
  private view: TextView | null = null;

  override componentDidMount(): void {
    this.view = new TextView(this.root.current!);
    // The first look at a running reply is a whole one, so that the page stands where it stood.
    if (this.props.live) this.view.first(this.props.text);
    else this.view.finish(this.props.text);
  }

  override shouldComponentUpdate(next: Props): boolean {
    if (next.live) this.view?.grow(next.text);
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
