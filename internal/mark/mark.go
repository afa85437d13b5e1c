package mark

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

var t0, _ = strconv.ParseInt(os.Getenv("T0"), 10, 64)

func At(s string) {
	if t0 != 0 {
		fmt.Fprintf(os.Stderr, "%7.1f %s\n", float64(time.Now().UnixNano()-t0)/1e6, s)
	}
}
