// Drives a CNI configuration list through libcni, the library that containerd, CRI-O and podman use: what our own calls
// of the plugin cannot show is what libcni makes of its answers (its cache, prevResult, rollbacks, versions).
//
//	libcni VERB CONFLIST NETNS CONTAINER IFNAME [CAPABILITY-ARGS-JSON [CNI_ARGS]]
//
// VERB is add, check, del or validate. Plugins are found in CNI_PATH, results are cached in CNI_CACHE. A result is printed
// as JSON; a failure ends with 1 and prints what libcni says.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/libcni"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 5 {
		return fmt.Errorf("VERB CONFLIST NETNS CONTAINER IFNAME are asked for")
	}
	list, err := libcni.ConfListFromFile(args[1])
	if err != nil {
		return err
	}
	runtime := &libcni.RuntimeConf{
		NetNS:          args[2],
		ContainerID:    args[3],
		IfName:         args[4],
		CapabilityArgs: map[string]interface{}{},
	}
	if len(args) > 5 && args[5] != "" {
		if err := json.Unmarshal([]byte(args[5]), &runtime.CapabilityArgs); err != nil {
			return err
		}
	}
	if len(args) > 6 {
		for _, pair := range strings.Split(args[6], ";") {
			kv := strings.SplitN(pair, "=", 2)
			runtime.Args = append(runtime.Args, [2]string{kv[0], kv[1]})
		}
	}
	cni := libcni.NewCNIConfigWithCacheDir(filepath.SplitList(os.Getenv("CNI_PATH")), os.Getenv("CNI_CACHE"), nil)
	ctx := context.Background()
	switch args[0] {
	case "add":
		result, err := cni.AddNetworkList(ctx, list, runtime)
		if err != nil {
			return err
		}
		return result.Print()
	case "check":
		return cni.CheckNetworkList(ctx, list, runtime)
	case "del":
		return cni.DelNetworkList(ctx, list, runtime)
	case "validate":
		capabilities, err := cni.ValidateNetworkList(ctx, list)
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(capabilities)
	}
	return fmt.Errorf("no verb %q", args[0])
}
