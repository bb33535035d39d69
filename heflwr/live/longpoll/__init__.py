"""The live channel over HTTP(S), for networks that let nothing else through: an agent posts, and answers wait for news.

    POST /live
    Authorization: Bearer TOKEN       of the agent, where there are keys
    Heflwr-Connection: ID             32 hexadecimal digits, drawn by the agent
    Heflwr-Wait: SECONDS              how long the answer may be held back until there is something to say

Bodies either way are messages of `heflwr.live.frames`, each behind its size (4 bytes, little-endian). One request of an
agent waits all the time; others bring what it has to say. What is lost with a connection, the protocol says again.
"""
