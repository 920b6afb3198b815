// Be an app and its client through the official Go SDK, as its documentation shows; print one JSON line per case.
//
// APP_ID, APP_PORT and APP_PROTOCOL (http or grpc) say who it is; DAPR_GRPC_PORT, DAPR_HTTP_ENDPOINT and DAPR_API_TOKEN
// say where its runtime is.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"sort"
	"strings"
	"time"

	dapr "github.com/dapr/go-sdk/client"
	"github.com/dapr/go-sdk/service/common"
)

const pubsub = "pubsub"

var (
	appID    = os.Getenv("APP_ID")
	run      = fmt.Sprintf("%s-%d", appID, os.Getpid())
	received = make(chan string, 64)
)

type sdkCase struct {
	name string
	do   func(context.Context, dapr.Client) error
}

func main() {
	service, err := serve()
	must(err)
	go func() { must(service.Start()) }()
	client, err := dapr.NewClient()
	must(err)
	must(subscribed(6))
	for _, each := range []sdkCase{
		{"topic", topic}, {"topics_by_rule", topicsByRule}, {"drop_to_dead_letter", dropToDeadLetter},
		{"retry_to_dead_letter", retryToDeadLetter}, {"bulk_publish", bulkPublish}, {"raw_payload", rawPayload},
		{"bulk_subscription", bulkSubscription}, {"bulk_subscription_with_retry", bulkSubscriptionWithRetry},
		{"stream_with_dead_letter", streamWithDeadLetter}, {"invoke_itself", invokeItself},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		tell(each.name, each.do(ctx, client))
		cancel()
	}
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func tell(name string, err error) {
	failure := ""
	if err != nil {
		failure = err.Error()
	}
	line, _ := json.Marshal(map[string]string{"case": name, "failure": failure})
	fmt.Println(string(line))
}

// What the app serves.

func serve() (common.Service, error) {
	address := "127.0.0.1:" + os.Getenv("APP_PORT")
	service := httpService(address)
	if os.Getenv("APP_PROTOCOL") == "grpc" {
		made, err := grpcService(address)
		if err != nil {
			return nil, err
		}
		service = made
	}
	dead := run + "-dead"
	for _, each := range []struct {
		subscription common.Subscription
		handler      common.TopicEventHandler
	}{
		{common.Subscription{Topic: run + "-plain", Route: "/plain"}, keep("plain", false, nil)},
		{common.Subscription{Topic: run + "-ruled", Route: "/other"}, keep("other", false, nil)},
		{common.Subscription{Topic: run + "-ruled", Route: "/red", Match: `event.type == "red"`, Priority: 1},
			keep("red", false, nil)},
		{common.Subscription{Topic: run + "-dropped", Route: "/dropped", DeadLetterTopic: dead},
			keep("dropped", false, fmt.Errorf("no good"))},
		{common.Subscription{Topic: run + "-retried", Route: "/retried", DeadLetterTopic: dead},
			keep("retried", true, fmt.Errorf("not now"))},
		// A dead letter says the topic it was published to.
		{common.Subscription{Topic: dead, Route: "/dead", DisableTopicValidation: true}, keep("dead", false, nil)},
		{common.Subscription{Topic: run + "-raw", Route: "/raw", Metadata: map[string]string{"rawPayload": "true"}},
			keep("raw", false, nil)},
		{common.Subscription{Topic: appID + "-bulk-dead", Route: "/letter"}, keep("letter", false, nil)},
	} {
		each.subscription.PubsubName = pubsub
		if err := service.AddTopicEventHandler(&each.subscription, each.handler); err != nil {
			return nil, err
		}
	}
	return service, service.AddServiceInvocationHandler("greet", greet)
}

func keep(name string, retry bool, err error) common.TopicEventHandler {
	return func(_ context.Context, event *common.TopicEvent) (bool, error) {
		received <- name + ": " + strings.Trim(string(event.RawData), `"`) // text has its quotes over HTTP
		return retry, err
	}
}

func greet(_ context.Context, in *common.InvocationEvent) (*common.Content, error) {
	text := fmt.Sprintf("%s %s %s", in.Verb, in.ContentType, in.Data)
	return &common.Content{Data: []byte(text), ContentType: "text/plain"}, nil
}

// The runtime asks a server for its topics some time after it listens.
func subscribed(count int) error {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		request, _ := http.NewRequest("GET", os.Getenv("DAPR_HTTP_ENDPOINT")+"/v1.0/metadata", nil)
		request.Header.Set("dapr-api-token", os.Getenv("DAPR_API_TOKEN"))
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		var told struct{ Subscriptions []struct{ Topic string } }
		err = json.NewDecoder(answer.Body).Decode(&told)
		answer.Body.Close()
		if err != nil {
			return err
		}
		found := 0
		for _, each := range told.Subscriptions {
			if strings.HasPrefix(each.Topic, run) {
				found++
			}
		}
		if found == count {
			return nil
		}
	}
	return fmt.Errorf("the subscriptions did not come")
}

func arrives(ctx context.Context, expected ...string) error {
	var found []string
	for len(found) < len(expected) {
		select {
		case text := <-received:
			found = append(found, text)
		case <-ctx.Done():
			return fmt.Errorf("only %q came", found)
		}
	}
	sort.Strings(found)
	if fmt.Sprint(found) != fmt.Sprint(expected) {
		return fmt.Errorf("got %q", found)
	}
	return nil
}

func topic(ctx context.Context, client dapr.Client) error {
	if err := client.PublishEvent(ctx, pubsub, run+"-plain", "text"); err != nil {
		return err
	}
	if err := client.PublishEvent(ctx, pubsub, run+"-plain", map[string]int{"n": 1}); err != nil {
		return err
	}
	return arrives(ctx, "plain: text", `plain: {"n":1}`)
}

func topicsByRule(ctx context.Context, client dapr.Client) error {
	red := dapr.PublishEventWithMetadata(map[string]string{"cloudevent.type": "red"})
	if err := client.PublishEvent(ctx, pubsub, run+"-ruled", "1", red); err != nil {
		return err
	}
	if err := client.PublishEvent(ctx, pubsub, run+"-ruled", "2"); err != nil {
		return err
	}
	return arrives(ctx, "other: 2", "red: 1")
}

func dropToDeadLetter(ctx context.Context, client dapr.Client) error {
	if err := client.PublishEvent(ctx, pubsub, run+"-dropped", "x"); err != nil {
		return err
	}
	return arrives(ctx, "dead: x", "dropped: x")
}

func retryToDeadLetter(ctx context.Context, client dapr.Client) error {
	if err := client.PublishEvent(ctx, pubsub, run+"-retried", "x"); err != nil {
		return err
	}
	return arrives(ctx, "dead: x", "retried: x")
}

func bulkPublish(ctx context.Context, client dapr.Client) error {
	answer := client.PublishEvents(ctx, pubsub, run+"-plain", []any{"one", map[string]int{"n": 2}})
	if answer.Error != nil || len(answer.FailedEvents) > 0 {
		return fmt.Errorf("%v, failed %v", answer.Error, answer.FailedEvents)
	}
	return arrives(ctx, "plain: one", `plain: {"n":2}`)
}

func rawPayload(ctx context.Context, client dapr.Client) error {
	raw := dapr.PublishEventWithRawPayload()
	if err := client.PublishEvent(ctx, pubsub, run+"-raw", "\x00octets", raw); err != nil {
		return err
	}
	return arrives(ctx, "raw: \x00octets")
}

func streamWithDeadLetter(ctx context.Context, client dapr.Client) error {
	dead := run + "-dead"
	options := dapr.SubscriptionOptions{PubsubName: pubsub, Topic: run + "-stream", DeadLetterTopic: &dead}
	subscription, err := client.Subscribe(ctx, options)
	if err != nil {
		return err
	}
	defer subscription.Close()
	if err := client.PublishEvent(ctx, pubsub, run+"-stream", "streamed"); err != nil {
		return err
	}
	message, err := subscription.Receive()
	if err != nil {
		return err
	}
	if err := message.Drop(); err != nil {
		return err
	}
	return arrives(ctx, "dead: streamed")
}

func invokeItself(ctx context.Context, client dapr.Client) error {
	content := &dapr.DataContent{ContentType: "text/plain", Data: []byte("hello")}
	answer, err := client.InvokeMethodWithContent(ctx, appID, "greet", "post", content)
	if err != nil {
		return err
	}
	if string(answer) != "POST text/plain hello" {
		return fmt.Errorf("got %q", answer)
	}
	return nil
}
