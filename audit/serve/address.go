// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
)

// loopback is where it listens if only a port is given.
const loopback = "127.0.0.1"

// Listen listens at HOST:PORT or, for this machine only, at PORT or :PORT.
//
// Errors: ErrAddress, ErrTaken, and those of the system.
func Listen(address string) (net.Listener, error) {
	full, err := complete(address)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", full)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s: %w: another process listens there", full, ErrTaken)
	case errors.As(err, new(*net.DNSError)), errors.Is(err, syscall.EADDRNOTAVAIL), errors.As(err, new(*net.AddrError)):
		return nil, fmt.Errorf("%w: %w", ErrAddress, err)
	}
	return l, err
}

// ErrAddress is an address that cannot be listened at.
var ErrAddress = errors.New("not an address of this machine")

// ErrTaken is an address where somebody listens.
var ErrTaken = errors.New("address in use")

func complete(address string) (string, error) {
	if _, err := strconv.ParseUint(address, 10, 16); err == nil {
		address = ":" + address
	}
	host, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return "", fmt.Errorf("%w: %q is neither HOST:PORT nor PORT", ErrAddress, address)
	}
	if host == "" {
		host = loopback
	}
	return net.JoinHostPort(host, port), nil
}

// guard answers requests for this machine only: by number, or as localhost. A
// browser can be made to take any name for 127.0.0.1, and then lets pages of that
// name read what it gets. Who listens elsewhere has names that are not known here.
func guard(l net.Addr, next http.Handler) http.Handler {
	a, ok := l.(*net.TCPAddr)
	local := ok && a.IP.IsLoopback()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case local && !numeric(r.Host):
			http.Error(w, "this is for 127.0.0.1 and localhost only", http.StatusMisdirectedRequest)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// numeric reports whether a Host header is an address or localhost.
func numeric(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	return strings.EqualFold(host, "localhost") || net.ParseIP(host) != nil
}
