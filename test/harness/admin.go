package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"path/filepath"
)

// Admin posts a command to the node's admin socket, as the command line does: the answer's status tells what has
// certainly not happened from what may have, and ctx bounds how long a client waits.
func (n *Node) Admin(ctx context.Context, path string, command any) (status int, answer string, err error) {
	text, err := json.Marshal(command)
	if err != nil {
		return 0, "", err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://node"+path, bytes.NewReader(text))
	if err != nil {
		return 0, "", err
	}
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(n.Dir, "admin.sock"))
		},
	}}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	return response.StatusCode, string(data), err
}
