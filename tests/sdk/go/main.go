// Use a runtime through the official Go SDK, as its documentation shows; print one JSON line per case.
//
// Arguments: "socket" and a path, or "address" and host:port. DAPR_API_TOKEN is the SDK's own variable.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"time"

	dapr "github.com/dapr/go-sdk/client"
	"github.com/dapr/go-sdk/service/common"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	store  = "statemem"
	pubsub = "pubsub"
)

var run = fmt.Sprintf("go-%d", time.Now().UnixNano())

type sdkCase struct {
	name string
	do   func(context.Context, dapr.Client) error
}

func main() {
	client, err := connect(os.Args[1], os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer client.Close()
	for _, each := range []sdkCase{
		{"state", state}, {"etag", etag}, {"transaction", transaction}, {"bulk", bulk},
		{"unknown_store", unknownStore}, {"publish_and_stream", publishAndStream}, {"bulk_publish", bulkPublish},
		{"invoke", invoke}, {"metadata", metadata},
	} {
		tell(each.name, attempt(each, client))
	}
}

func connect(kind, where string) (dapr.Client, error) {
	if kind == "socket" {
		return dapr.NewClientWithSocket(where)
	}
	return dapr.NewClientWithAddress(where)
}

func attempt(each sdkCase, client dapr.Client) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return each.do(ctx, client)
}

func tell(name string, err error) {
	failure := ""
	if err != nil {
		failure = err.Error()
	}
	line, _ := json.Marshal(struct {
		Case    string `json:"case"`
		Failure string `json:"failure"`
	}{name, failure})
	fmt.Println(string(line))
}

func want(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}

func state(ctx context.Context, client dapr.Client) error {
	key := run + "-state"
	if err := client.SaveState(ctx, store, key, []byte("v"), nil); err != nil {
		return err
	}
	item, err := client.GetState(ctx, store, key, nil)
	if err != nil || string(item.Value) != "v" || item.Etag == "" {
		return fmt.Errorf("got %v, %v", item, err)
	}
	if err := client.DeleteState(ctx, store, key, nil); err != nil {
		return err
	}
	gone, err := client.GetState(ctx, store, key, nil)
	if err != nil {
		return err
	}
	return want(len(gone.Value) == 0, "still there: %v", gone)
}

func etag(ctx context.Context, client dapr.Client) error {
	key := run + "-etag"
	if err := client.SaveState(ctx, store, key, []byte("1"), nil); err != nil {
		return err
	}
	item, err := client.GetState(ctx, store, key, nil)
	if err != nil {
		return err
	}
	firstWrite := dapr.WithConcurrency(dapr.StateConcurrencyFirstWrite)
	if err := client.SaveStateWithETag(ctx, store, key, []byte("2"), item.Etag, nil, firstWrite); err != nil {
		return err
	}
	err = client.SaveStateWithETag(ctx, store, key, []byte("3"), item.Etag, nil, firstWrite)
	return want(err != nil && status.Code(err) == codes.Aborted, "stale etag: %v", err)
}

func transaction(ctx context.Context, client dapr.Client) error {
	one, two := run+"-one", run+"-two"
	if err := client.SaveState(ctx, store, two, []byte("old"), nil); err != nil {
		return err
	}
	err := client.ExecuteStateTransaction(ctx, store, nil, []*dapr.StateOperation{
		{Type: dapr.StateOperationTypeUpsert, Item: &dapr.SetStateItem{Key: one, Value: []byte("new")}},
		{Type: dapr.StateOperationTypeDelete, Item: &dapr.SetStateItem{Key: two}},
	})
	if err != nil {
		return err
	}
	items, err := client.GetBulkState(ctx, store, []string{one, two}, nil, 2)
	if err != nil {
		return err
	}
	found := map[string]string{}
	for _, item := range items {
		found[item.Key] = string(item.Value)
	}
	return want(found[one] == "new" && found[two] == "", "got %v", found)
}

func bulk(ctx context.Context, client dapr.Client) error {
	keys := []string{run + "-b1", run + "-b2"}
	err := client.SaveBulkState(ctx, store,
		&dapr.SetStateItem{Key: keys[0], Value: []byte("1")}, &dapr.SetStateItem{Key: keys[1], Value: []byte("2")})
	if err != nil {
		return err
	}
	if err := client.DeleteBulkState(ctx, store, keys[:1], nil); err != nil {
		return err
	}
	items, err := client.GetBulkState(ctx, store, keys, nil, 1)
	if err != nil {
		return err
	}
	found := map[string]string{}
	for _, item := range items {
		found[item.Key] = string(item.Value)
	}
	return want(found[keys[0]] == "" && found[keys[1]] == "2", "got %v", found)
}

func unknownStore(ctx context.Context, client dapr.Client) error {
	_, err := client.GetState(ctx, "nostore", "k", nil)
	return want(status.Code(err) == codes.InvalidArgument, "got %v", err)
}

func publishAndStream(ctx context.Context, client dapr.Client) error {
	topic := run + "-stream"
	received := make(chan string, 16)
	stop, err := client.SubscribeWithHandler(ctx, dapr.SubscriptionOptions{PubsubName: pubsub, Topic: topic},
		func(event *common.TopicEvent) common.SubscriptionResponseStatus {
			received <- string(event.RawData)
			return common.SubscriptionResponseStatusSuccess
		})
	if err != nil {
		return err
	}
	defer stop()
	sent := []string{"0", "1", "2", "3", "4"}
	for _, text := range sent {
		if err := client.PublishEvent(ctx, pubsub, topic, []byte(text)); err != nil {
			return err
		}
	}
	return collect(ctx, received, sent)
}

func bulkPublish(ctx context.Context, client dapr.Client) error {
	topic := run + "-bulk"
	received := make(chan string, 16)
	stop, err := client.SubscribeWithHandler(ctx, dapr.SubscriptionOptions{PubsubName: pubsub, Topic: topic},
		func(event *common.TopicEvent) common.SubscriptionResponseStatus {
			received <- string(event.RawData)
			return common.SubscriptionResponseStatusSuccess
		})
	if err != nil {
		return err
	}
	defer stop()
	response := client.PublishEvents(ctx, pubsub, topic, []interface{}{"one", "two"})
	if response.Error != nil {
		return response.Error
	}
	return collect(ctx, received, []string{"one", "two"})
}

func collect(ctx context.Context, received <-chan string, expected []string) error {
	var found []string
	for len(found) < len(expected) {
		select {
		case text := <-received:
			found = append(found, text)
		case <-ctx.Done():
			return fmt.Errorf("only %v came", found)
		}
	}
	sort.Strings(found)
	return want(fmt.Sprint(found) == fmt.Sprint(expected), "got %v", found)
}

func invoke(ctx context.Context, client dapr.Client) error {
	content := &dapr.DataContent{ContentType: "text/plain", Data: []byte("hello")}
	answer, err := client.InvokeMethodWithContent(ctx, "kitapp", "echo/there", "post", content)
	if err != nil {
		return err
	}
	var seen struct{ Method, Path, Body string }
	if err := json.Unmarshal(answer, &seen); err != nil {
		return err
	}
	return want(seen.Method == "POST" && seen.Path == "/echo/there" && seen.Body == "hello", "got %v", seen)
}

func metadata(ctx context.Context, client dapr.Client) error {
	if err := client.SetMetadata(ctx, "from-go", "yes"); err != nil {
		return err
	}
	told, err := client.GetMetadata(ctx)
	if err != nil {
		return err
	}
	return want(told.ID == "kitapp" && told.ExtendedMetadata["from-go"] == "yes", "got %+v", told)
}
