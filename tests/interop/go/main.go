// Make the calls of a table with grpc-go, and print what came of each: see table.py. The argument is the target.
package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

type call struct {
	Case, Path, Kind string
	Metadata         map[string]string
	Messages         []json.RawMessage
	DeadlineSeconds  float64 `json:"deadline_seconds"`
	CancelSeconds    float64 `json:"cancel_seconds"`
	CancelAfter      int     `json:"cancel_after"`
	Gzip             bool
}

type outcome struct {
	Case     string            `json:"case"`
	Code     uint32            `json:"code"`
	Message  string            `json:"message"`
	Received [][2]any          `json:"received"`
	Initial  map[string]string `json:"initial"`
	Trailing map[string]string `json:"trailing"`
}

// raw passes messages as bytes.
type raw struct{}

func (raw) Marshal(message any) ([]byte, error) { return *message.(*[]byte), nil }
func (raw) Unmarshal(data []byte, message any) error {
	*message.(*[]byte) = append([]byte(nil), data...)
	return nil
}
func (raw) Name() string { return "proto" }

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	unlimited := grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{}), grpc.MaxCallRecvMsgSize(1<<30), grpc.MaxCallSendMsgSize(1<<30))
	conn, err := grpc.NewClient(os.Args[1], grpc.WithTransportCredentials(insecure.NewCredentials()), unlimited)
	must(err)
	defer conn.Close()
	lines := bufio.NewReader(os.Stdin)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return
		}
		must(err)
		var each call
		must(json.Unmarshal(line, &each))
		text, err := json.Marshal(each.make(conn))
		must(err)
		fmt.Println(string(text))
	}
}

func (c call) make(conn *grpc.ClientConn) outcome {
	ctx, cancel := context.WithTimeout(context.Background(), seconds(c.DeadlineSeconds, 30))
	defer cancel()
	if c.CancelSeconds > 0 {
		defer time.AfterFunc(seconds(c.CancelSeconds, 0), cancel).Stop()
	}
	ctx = metadata.NewOutgoingContext(ctx, c.metadata())
	var options []grpc.CallOption
	if c.Gzip {
		options = append(options, grpc.UseCompressor(gzip.Name))
	}
	description := &grpc.StreamDesc{ClientStreams: true, ServerStreams: c.Kind == "server" || c.Kind == "bidi"}
	result := outcome{Case: c.Case, Received: [][2]any{}}
	stream, err := conn.NewStream(ctx, description, c.Path, options...)
	if err == nil {
		result.Received, err = c.converse(stream, cancel)
		if header, failed := stream.Header(); failed == nil {
			result.Initial = shown(header)
		}
		result.Trailing = shown(stream.Trailer())
	}
	if err != nil {
		told, _ := status.FromError(err)
		result.Code, result.Message = uint32(told.Code()), told.Message()
	}
	return result
}

func (c call) converse(stream grpc.ClientStream, cancel func()) ([][2]any, error) {
	received := [][2]any{}
	for _, message := range c.messages() {
		// io.EOF means that the answer says why.
		if err := stream.SendMsg(&message); err != nil && !errors.Is(err, io.EOF) {
			return received, err
		}
	}
	if c.CancelAfter == 0 || c.Kind == "server" {
		if err := stream.CloseSend(); err != nil {
			return received, err
		}
	}
	for {
		var message []byte
		err := stream.RecvMsg(&message)
		if errors.Is(err, io.EOF) {
			return received, nil
		}
		if err != nil {
			return received, err
		}
		digest := sha256.Sum256(message)
		received = append(received, [2]any{len(message), hex.EncodeToString(digest[:4])})
		if len(received) == c.CancelAfter {
			cancel()
		}
		if c.Kind == "unary" || c.Kind == "client" {
			return received, nil
		}
	}
}

func (c call) metadata() metadata.MD {
	pairs := metadata.MD{}
	for name, value := range c.Metadata {
		if strings.HasSuffix(name, "-bin") {
			decoded, err := base64.StdEncoding.DecodeString(value)
			must(err)
			value = string(decoded)
		}
		pairs.Append(name, value)
	}
	return pairs
}

func (c call) messages() [][]byte {
	var messages [][]byte
	for _, each := range c.Messages {
		var size int
		if json.Unmarshal(each, &size) == nil {
			messages = append(messages, make([]byte, size))
			continue
		}
		var message []byte
		must(json.Unmarshal(each, &message))
		messages = append(messages, message)
	}
	return messages
}

func shown(pairs metadata.MD) map[string]string {
	texts := map[string]string{}
	for name, values := range pairs {
		value := values[len(values)-1]
		if strings.HasSuffix(name, "-bin") {
			value = base64.StdEncoding.EncodeToString([]byte(value))
		}
		texts[name] = value
	}
	return texts
}

func seconds(number, otherwise float64) time.Duration {
	if number == 0 {
		number = otherwise
	}
	return time.Duration(number * float64(time.Second))
}
