"""The dialect `accumulating`: every frame of a reply has its whole text so far."""
