//go:build unix

// Command go-server is an HTTP server that can be replaced without one failed
// request. It uses nothing but the standard library:
//
//	envexec --env DB_PASSWORD=secret/db#password --listen web=tcp://:8080 \
//	        --ready notify --on-change overlap -- go-server
//
// Three things matter: it serves on the socket it inherits, it says when it is
// ready, and it stops in the right order.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	address := flag.String("listen", ":8080", "where to listen when no socket is inherited")
	flag.Parse()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, os.Interrupt)
	l, err := listen(*address)
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(serve), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			log.Fatal(err)
		}
	}()
	if err := ready(); err != nil {
		log.Fatal(err)
	}
	<-stop
	// Stop accepting: the next generation takes what comes now. Then let the requests
	// arrive whose connection is accepted already: from Shutdown on net/http drops them.
	_ = l.Close()
	time.Sleep(200 * time.Millisecond)
	_ = server.Shutdown(context.Background())
}

func serve(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("X-Generation", os.Getenv("ENVEXEC_GENERATION"))
	fmt.Fprintln(w, "hello")
}

// listen returns the first inherited socket, as sd_listen_fds(3) has it, or a new one.
func listen(address string) (net.Listener, error) {
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return net.Listen("tcp", address)
	}
	f := os.NewFile(3, "inherited")
	defer f.Close()
	return net.FileListener(f)
}

// ready tells whoever started us, as sd_notify(3) has it.
func ready() error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	conn, err := net.Dial("unixgram", path)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte("READY=1"))
	return err
}
