// Command app is the demo's web program. It knows nothing of Vault: it reads two
// environment variables at its start, as any program does.
//
//	GET /      what it was started with, as JSON
//	GET /quit  end with status 7
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// Answer is what GET / says.
type Answer struct {
	Pid         int
	Password    string
	OTP         string
	Credentials []string // names of login variables it can see: none, if all is well
}

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	answer := Answer{Pid: os.Getpid(), Password: os.Getenv("DB_PASSWORD"), OTP: os.Getenv("SSH_OTP")}
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if strings.Contains(name, "TOKEN") || strings.Contains(name, "ROLE_ID") || strings.Contains(name, "SECRET_ID") {
			answer.Credentials = append(answer.Credentials, name)
		}
	}

	quit := make(chan int, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(answer) })
	mux.HandleFunc("GET /quit", func(http.ResponseWriter, *http.Request) { quit <- 7 })
	server := &http.Server{Addr: os.Getenv("LISTEN"), Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	fmt.Printf("listening, DB_PASSWORD has %d characters\n", len(answer.Password))

	status := 0
	select {
	case <-ctx.Done():
		fmt.Println("asked to stop, closing")
	case status = <-quit:
		fmt.Println("my work is done, ending with status 7")
	case err := <-failed:
		fmt.Println(err)
		return 1
	}
	end, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = server.Shutdown(end)
	return status
}
