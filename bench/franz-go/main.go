// Members of a group with franz-go, a goroutine each. See ../src/group/mod.rs for what is read and written.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

var (
	start = time.Now()
	mu    sync.Mutex
	lines strings.Builder
)

func write(format string, args ...any) {
	mu.Lock()
	defer mu.Unlock()
	fmt.Fprintf(&lines, format+"\n", args...)
}

func nanos() int64 { return time.Since(start).Nanoseconds() }

func flush() {
	mu.Lock()
	text := lines.String()
	lines.Reset()
	mu.Unlock()
	if _, err := os.Stdout.WriteString(text); err != nil {
		os.Exit(1)
	}
}

func options(args []string, member int) []kgo.Opt {
	var assigned int
	var assignedMu sync.Mutex
	// Called with what is added or taken away.
	change := func(sign int, partitions map[string][]int32) {
		assignedMu.Lock()
		defer assignedMu.Unlock()
		for _, numbers := range partitions {
			assigned += sign * len(numbers)
		}
		write("A %d %d %d", member, assigned, nanos())
	}
	opts := []kgo.Opt{
		kgo.SeedBrokers(strings.Split(args[0], ",")...),
		kgo.ConsumeTopics(args[1]),
		kgo.ClientID("bench"),
		kgo.ConsumerGroup(args[2]),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()),
		kgo.FetchMaxWait(500 * time.Millisecond),
		kgo.AutoCommitInterval(5 * time.Second),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, added map[string][]int32) { change(1, added) }),
		kgo.OnPartitionsRevoked(func(ctx context.Context, client *kgo.Client, gone map[string][]int32) {
			// What the client does by itself where this callback is not set.
			if err := client.CommitUncommittedOffsets(ctx); err != nil {
				write("X %d %s", member, strings.ReplaceAll(err.Error(), "\n", " "))
			}
			change(-1, gone)
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, gone map[string][]int32) { change(-1, gone) }),
	}
	switch args[3] {
	case "range":
		opts = append(opts, kgo.Balancers(kgo.RangeBalancer()))
	case "cooperative-sticky":
		opts = append(opts, kgo.Balancers(kgo.CooperativeStickyBalancer()))
	default:
		// The broker's default assignor is the uniform one, which the client asks for by this balancer.
		return append(opts, kgo.ServerSideBalancer(), kgo.Balancers(kgo.StickyBalancer()))
	}
	return append(opts, kgo.SessionTimeout(45*time.Second), kgo.HeartbeatInterval(3*time.Second))
}

func member(args []string, number int) {
	write("S %d %d", number, nanos())
	client, err := kgo.NewClient(options(args, number)...)
	if err != nil {
		write("X %d %s", number, err)
		return
	}
	for {
		fetches := client.PollFetches(context.Background())
		fetches.EachError(func(_ string, _ int32, err error) { write("X %d %s", number, err) })
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			if n := len(p.Records); n > 0 {
				write("R %d %d %d %d %d", number, p.Partition, p.Records[0].Offset, p.Records[n-1].Offset+1, nanos())
			}
		})
	}
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if dep.Path == "github.com/twmb/franz-go" {
				return dep.Version
			}
		}
	}
	return ""
}

func main() {
	args := os.Args[1:]
	if len(args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: members BOOTSTRAP TOPIC GROUP PROTOCOL")
		os.Exit(2)
	}
	write("N franz-go %s", version())
	go func() {
		for {
			flush()
			time.Sleep(20 * time.Millisecond)
		}
	}()
	input := bufio.NewScanner(os.Stdin)
	for number := 0; input.Scan() && input.Text() == "start"; number++ {
		go member(args, number)
	}
	flush()
}
