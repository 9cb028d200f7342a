"""The dialect `rooms`: several users in one session with an assistant."""
