// Command dashboards reads dashboards as Grafana's schemas have them, each panel's options and queries included, and
// prints what the schemas do not know or miss, one field a line.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/bargauge"
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/tempo"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

func main() {
	// All that there are would take twice as long to compile.
	for _, panel := range []variants.PanelcfgConfig{
		bargauge.VariantConfig(), table.VariantConfig(), timeseries.VariantConfig(),
	} {
		cog.NewRuntime().RegisterPanelcfgVariant(panel)
	}
	for _, query := range []variants.DataqueryConfig{prometheus.VariantConfig(), tempo.VariantConfig()} {
		cog.NewRuntime().RegisterDataqueryVariant(query)
	}
	for _, file := range os.Args[1:] {
		text, err := os.ReadFile(file)
		if err != nil {
			log.Fatal(err)
		}
		// An error without a text is an empty list of errors.
		if err := new(dashboard.Dashboard).UnmarshalJSONStrict(text); err != nil && err.Error() != "" {
			fmt.Println(err)
		}
		// The options of a panel of an unknown type are not looked at.
		var read struct{ Panels []struct{ Type string } }
		if err := json.Unmarshal(text, &read); err != nil {
			log.Fatal(err)
		}
		for number, panel := range read.Panels {
			if _, known := cog.ConfigForPanelcfgVariant(panel.Type); !known {
				fmt.Printf("panels[%d].type: unexpected value '%s'\n", number, panel.Type)
			}
		}
	}
}
