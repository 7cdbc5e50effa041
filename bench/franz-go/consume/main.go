// Consumes so many records of a topic with franz-go, in a group, with its defaults, and prints what ../../src/lib.rs calls a report.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

type report struct {
	Name          string  `json:"name"`
	Records       int     `json:"records"`
	WallSeconds   float64 `json:"wall_seconds"`
	CPUNanos      float64 `json:"cpu_ns_per_record"`
	RSSMiB        float64 `json:"rss_mib"`
	FirstRecordMs float64 `json:"first_record_ms"`
}

// The CPU seconds of this process so far, and its largest resident set in MiB.
func usage() (float64, float64) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		fail(err)
	}
	seconds := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return seconds(usage.Utime) + seconds(usage.Stime), float64(usage.Maxrss) / 1024
}

func fail(what any) {
	fmt.Fprintln(os.Stderr, what)
	os.Exit(1)
}

func main() {
	if len(os.Args) < 4 {
		fail("usage: consume_franz_go BOOTSTRAP TOPIC COUNT")
	}
	count, err := strconv.Atoi(os.Args[3])
	if err != nil {
		fail(err)
	}
	begun := time.Now()
	cpu, _ := usage()
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(os.Args[1], ",")...),
		kgo.ConsumeTopics(os.Args[2]),
		kgo.ConsumerGroup(fmt.Sprintf("bench-franz-go-%d", os.Getpid())),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
	)
	if err != nil {
		fail(err)
	}
	records, bytes := 0, 0
	var first time.Duration
	for records < count {
		fetches := client.PollFetches(context.Background())
		for _, failed := range fetches.Errors() {
			fail(failed.Err)
		}
		if first == 0 && fetches.NumRecords() > 0 {
			first = time.Since(begun)
		}
		fetches.EachRecord(func(record *kgo.Record) {
			records++
			bytes += len(record.Value)
		})
	}
	wall := time.Since(begun)
	after, rss := usage()
	line, err := json.Marshal(report{
		Name: "franz-go", Records: records, WallSeconds: wall.Seconds(),
		CPUNanos: (after - cpu) * 1e9 / float64(records), RSSMiB: rss,
		FirstRecordMs: float64(first.Microseconds()) / 1000,
	})
	if err != nil {
		fail(err)
	}
	fmt.Println(string(line))
	client.Close()
}
