"""The dialect `tokens`: a reply as one token after another, and its tool calls."""
