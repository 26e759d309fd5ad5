// Redisserver is a server with the protocol of Redis and Redis Cluster that embeds one node of the library: existing clients, redis-cli and
// redis-benchmark drive it. README.md beside this file tells how to start one or several, and where a command differs on purpose.
//
// What is where, from the outside in: flags and main (main.go, config.go); the node and what belongs to it, opened and closed in order
// (server.go, voters.go); the other servers of the cluster and where their clients' ports are (directory.go); connections and the table of commands
// (client.go, request.go, reply.go, table.go), and who runs them: a goroutine for each connection, or a loop for many (loop.go, socket.go, poll_linux.go);
// the commands by kind (strings.go, counters.go, expire.go, keys.go, scan.go, cluster*.go, replication.go,
// info.go, …); and the live view of a cluster in a terminal (watch.go).
package main
