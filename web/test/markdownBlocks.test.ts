import { describe, expect, test } from "vitest";
import { MarkdownBlocks } from "../src/render/markdownBlocks";
import { NestingTooDeepError } from "../src/render/markdown";
import { rng } from "./rng";

const CORPUS = {
  prose: "A slur *joins* two notes.\n\nIt is **played** in one breath; see `legato`.\n\nThe end.",
  headings: "# One\n\ntext\n\nTwo\n---\n\n### Three\nmore\n",
  lists: "- a\n- b\n  - c\n\n  with a paragraph\n- d\n\n1. one\n2. two\n\nafter\n\n* x\n\n* y\n",
  code: "Look:\n\n```python\ndef f(x):\n    return x  # <b>\n\n\nprint(f(1))\n```\n\nand\n\n~~~\n```\nnot the end\n~~~\n\ndone",
  table: "| a | b |\n|---|--:|\n| 1 | `x|y` |\n| 2 | **z** |\n\nbelow",
  quotes: "> one\n> > two\n> back\n\ntext\n\n> - list in it\n>   ```js\n>   let a = 1\n>   ```\n",
  html: "<script>alert(1)</script>\n\n<div onclick=x>\n\nhi <b>there</b>\n\n</div>\n\nend",
  links: "[a](https://example.org/a_(b)) and <https://example.org>, https://example.org/x\n\n- [ ] todo\n- [x] done\n\nend",
  lines: "one\r\ntwo\r\n\r\nthree\r\n",
  notes: "Slurs[^1] join[^2].\n[^1]: https://example.org\n[^2]: See *there*,\n  and here.\n\nmore[^c]\n\n[^c]: last\n\nend\n\nend",
  formulas: "So \\(a^2 * b_1 * c_1\\) is it:\n\n\\[\nx_1 \\\\ y_1\n\\]\n\nand 1\\) is not\n\nend",
  dollars: "So $a*b*c$ for $5 is:\n$$\n- x_1 \\\\\n= y\n$$\nand\n\n- $$x$$\n- *a $b*c$*\n\nend\n\nend",
  tags: "H<sub>2</sub>O<br>\n\n<br>\n\nand <sup>x</sup>\n\nend",
  defs: "[a]: https://example.org\n\nsee [a]\n\nagain [a]\n\nand [a]\n\nlast",
};

function render(text: string): string[] {
  const blocks = new MarkdownBlocks();
  blocks.finish(text);
  return blocks.html;
}

describe.each(Object.entries(CORPUS))("%s, streamed", (_name, text) => {
  test("has final blocks that do not change", () => {
    for (let seed = 0; seed < 20; seed++) {
      const random = rng(seed);
      const blocks = new MarkdownBlocks();
      for (let at = 0; at < text.length; at += 1 + Math.floor(random() * 6)) {
        blocks.update(text.slice(0, at));
        expect(blocks.html.slice(0, blocks.finalCount)).toEqual(render(text).slice(0, blocks.finalCount));
      }
    }
  });

  test("ends with the same HTML as when it is rendered at once", () => {
    const blocks = new MarkdownBlocks();
    for (let at = 0; at <= text.length; at++) blocks.update(text.slice(0, at));
    blocks.finish(text);
    expect(blocks.html).toEqual(render(text));
  });
});

describe("the tail", () => {
  function tail(text: string): string {
    const blocks = new MarkdownBlocks();
    blocks.update(text);
    return blocks.html.join("");
  }

  test("closes open markup", () => {
    expect(tail("a **bold wor")).toBe("<p>a <strong>bold wor</strong></p>\n");
    expect(tail("a `code wor")).toBe("<p>a <code>code wor</code></p>\n");
    expect(tail("a [link](https://exam")).toBe("<p>a link</p>\n");
  });

  test("omits markers that are still ambiguous", () => {
    expect(tail("a\n\n-")).toBe("<p>a</p>\n");
    expect(tail("a **")).toBe("<p>a</p>\n");
    expect(tail("a <su")).toBe("<p>a </p>\n");
  });

  test.each(["| b | c |", "|", "b | c\n", "b | c\n--", "text:\n| b | c |\n|---|", "- one\n\n  | b | c |\n  |--"])(
    "does not show the heading of a table as text: %j",
    (text) => {
      expect(tail(`a\n\n${text}`)).not.toMatch(/[|b]/);
    },
  );

  test.each(["$$\n- x_1\n+ y", "\\[\nx", "so $x_", "so \\(x_", "so \\"])("does not show the source of a formula: %j", (text) => {
    expect(tail(`a\n\n${text}`)).not.toMatch(/[xy$\\]|<li>/);
  });

  test("shows text that looks like the beginning of a formula only for a moment", () => {
    expect(tail("it costs $5 and")).toBe("<p>it costs $5 and</p>\n");
    expect(tail(`$HOME ${"word ".repeat(40)}`)).toContain("HOME");
  });

  test("does not change code", () => {
    expect(tail("```\na ** b `")).toContain("a ** b `");
  });
});

describe("the output of a model", () => {
  test("escapes HTML", () => {
    const out = render(CORPUS.html).join("");
    expect(out).not.toMatch(/<(script|div onclick|b)\b/);
    expect(out).toContain("&lt;script&gt;");
  });

  test("shows images as links", () => {
    const out = render('![a"><x](https://example.org/i.png) ![](data:image/png;base64,AA) [x](javascript:alert(1)) [y](JAVASCRIPT:x)').join("");
    expect(out).not.toMatch(/<img|javascript:|data:/i);
    expect(out).toContain('<a href="https://example.org/i.png"');
  });

  test("shows each footnote in a paragraph", () => {
    expect(render("Slurs[^1] join[^2].\n\n[^1]: https://example.org\n[^2]: See *there*.")).toEqual([
      '<p>Slurs<sup class="footnote-reference">1</sup> join<sup class="footnote-reference">2</sup>.</p>\n',
      expect.stringMatching(/^<p class="footnote"><sup>1<\/sup> <a href="https:\/\/example\.org"/),
      '<p class="footnote"><sup>2</sup> See <em>there</em>.</p>\n',
    ]);
    expect(render("A note[^a].\n[^a]: Word")[0]).toBe('<p>A note<sup class="footnote-reference">a</sup>.</p>\n');
    expect(render("The pattern [^a-z] has no footnote")).toEqual(["<p>The pattern [^a-z] has no footnote</p>\n"]);
  });

  test("shows line breaks, subscripts and superscripts, without attributes", () => {
    expect(render("H<sub>2</sub>O,<br>x<sup>2</sup><br/>")).toEqual(["<p>H<sub>2</sub>O,<br>x<sup>2</sup><br/></p>\n"]);
    expect(render("<br>\n*one*")).toEqual(["<p><br>\n<em>one</em></p>\n"]);
    expect(render("<sub onclick=x>2</sub>").join("")).not.toContain("<sub onclick");
    expect(render("| a<br>b |\n|---|\n| c |")[0]).toContain("<th>a<br>b</th>");
  });

  test("protects formulas from Markdown", () => {
    expect(render("So \\(a_1 * b_1 * \\alpha < 2\\) is it:\n\n\\[x_1 \\\\ y_1\\]")).toEqual([
      '<p>So <span class="math">\\(a_1 * b_1 * \\alpha &lt; 2\\)</span> is it:</p>\n',
      '<p class="math display">\\[x_1 \\\\ y_1\\]</p>\n',
    ]);
    expect(render("With $a*b*c$ and *so $x*y$ on*.")).toEqual([
      '<p>With <span class="math">$a*b*c$</span> and <em>so <span class="math">$x*y$</span> on</em>.</p>\n',
    ]);
    expect(render("Let\n$$\n- a_1\n= b \\\\\n$$\nbe")).toEqual([
      "<p>Let</p>\n",
      '<p class="math display">$$\n- a_1\n= b \\\\\n$$</p>\n',
      "<p>be</p>\n",
    ]);
    expect(render("open \\(a")).toEqual(["<p>open \\(a</p>\n"]);
    expect(render("`\\(a\\)` and `$a$` and \\*not this\\*")).toEqual(["<p><code>\\(a\\)</code> and <code>$a$</code> and *not this*</p>\n"]);
  });

  test.each([
    "It costs $5 or $10, not $12.",
    "From $5 million to 3$.",
    "$HOME and $PATH are variables",
    "US$5/US$6",
    "\\$a\\$",
    "a $ b $ c",
  ])("does not take prices and variables for formulas: %s", (text) => {
    expect(render(text).join("")).not.toContain("math");
  });

  test("is rejected if it is nested too deeply", () => {
    for (const text of ["> ".repeat(3000) + "x", "- ".repeat(3000) + "x", "1. ".repeat(500) + "x"]) {
      expect(() => render(text)).toThrow(NestingTooDeepError);
    }
  });

  test("is rendered from the start after a rewind", () => {
    const blocks = new MarkdownBlocks();
    blocks.update("one\n\ntwo\n\nthree\n\nfour\n\nfive");
    blocks.update("one\n\n2");
    blocks.finish("one\n\n2");
    expect(blocks.html).toEqual(["<p>one</p>\n", "<p>2</p>\n"]);
  });
});
